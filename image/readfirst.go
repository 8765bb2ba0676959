package image

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// AnnotationReadFirst is the annotation of a layer that says which sections of
// it a file system reads before a container starts: OFFSET:SIZE, in bytes, with
// commas between them.
const AnnotationReadFirst = "io.github.ipfs-registry.read-first"

// The annotations of layers that are read lazily.
const (
	annotationTOC      = "containerd.io/snapshot/stargz/toc.digest"
	annotationChunked  = "io.containers.zstd-chunked.manifest-position"
	annotationChunked2 = "io.github.containers.zstd-chunked.manifest-position"
)

// maxSections is how many sections of a layer are heeded.
const maxSections = 4

// readFirst are the sections of a blob that are read first when it is pulled. Of
// a layer that is read lazily these are the table of contents at its end and,
// where it is known, what lies before the landmark.
func readFirst(desc ocispec.Descriptor) []section {
	if desc.Size <= 0 {
		return nil
	}
	if sections := parseSections(desc.Annotations[AnnotationReadFirst], desc.Size); len(sections) > 0 {
		return probed(asRead(sections, desc.Size))
	}
	for _, key := range []string{annotationChunked, annotationChunked2} {
		if table := parseSections(desc.Annotations[key], desc.Size); len(table) > 0 {
			return probed([]section{tail(desc.Size, desc.Size-table[0].offset)})
		}
	}
	if desc.Annotations[annotationTOC] != "" {
		// Where it begins is in the footer. It is about a hundredth of a layer
		// of small files.
		return probed(asRead([]section{tail(desc.Size, max(desc.Size/64, 512<<10))}, desc.Size))
	}
	return []section{{0, min(desc.Size, maxAhead)}}
}

// readUnit is what stargz-snapshotter asks for multiples of.
const readUnit = 50_000

// asRead are the sections that are asked for to read those of a blob.
func asRead(sections []section, size int64) []section {
	for i, s := range sections {
		from := s.offset / readUnit * readUnit
		to := min((s.offset+s.size+readUnit-1)/readUnit*readUnit, size)
		sections[i] = section{from, to - from}
	}
	return sections
}

// probed are the sections and, if none of them has it, what a snapshotter asks
// for to see whether it gets sections at all.
func probed(sections []section) []section {
	if slices.ContainsFunc(sections, func(s section) bool { return s.offset == 0 }) {
		return sections
	}
	return append(sections, section{0, 2})
}

// tail is the end of a blob, no more of it than is fetched ahead.
func tail(size, n int64) section {
	n = min(n, size, maxAhead)
	return section{size - n, n}
}

// parseSections reads OFFSET:SIZE, with anything after another colon, and more of
// the same after commas. What is not within a blob of the size is left out.
func parseSections(text string, size int64) []section {
	var all []section
	for part := range strings.SplitSeq(text, ",") {
		var s section
		if n, _ := fmt.Sscanf(part, "%d:%d", &s.offset, &s.size); n != 2 || len(all) == maxSections {
			break
		}
		if s.offset >= 0 && s.size > 0 && s.offset <= size-s.size {
			all = append(all, s)
		}
	}
	return all
}
