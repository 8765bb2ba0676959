package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/ipfs/go-cid"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/publish"
	"github.com/ipfs-registry/ipfs-registry/publish/lazy"
)

// pushFlags are the choices of one push, which are no settings.
type pushFlags struct {
	format    string
	chunker   string
	platforms []string
	insecure  bool
	name      string
	into      string
	layer     string
	schema1   bool
	estargz   bool
	first     string
	json      *bool

	zstdChunked bool
}

// lazy is what the layers are converted to.
func (f *pushFlags) lazy() lazy.Format {
	switch {
	case f.estargz:
		return lazy.EStargz
	case f.zstdChunked:
		return lazy.ZstdChunked
	default:
		return ""
	}
}

// prioritized reads the list of the files that are to be laid first.
func (f *pushFlags) prioritized() ([]string, error) {
	if f.first == "" {
		return nil, nil
	}
	file, err := os.Open(f.first)
	if err != nil {
		return nil, fmt.Errorf("read --estargz-prioritize: %w", err)
	}
	defer file.Close()
	first, err := publish.ReadPrioritized(file)
	if err != nil {
		return nil, fmt.Errorf("read --estargz-prioritize %s: %w; give paths of files, one a line", f.first, err)
	}
	return first, nil
}

// spoolDir is the disk that layers lie on while they are converted: that of the
// repository, if there is one here.
func spoolDir(repo string) string {
	if info, err := os.Stat(repo); err != nil || !info.IsDir() {
		return ""
	}
	return repo
}

// check reads the choices that have few values.
func (f *pushFlags) check() (platforms []ocispec.Platform, into cid.Cid, err error) {
	static := f.format == "static"
	switch {
	case f.format != "layout" && f.format != "nerdctl" && !static:
		return nil, into, fmt.Errorf("read --format %q: no such form; use layout, nerdctl or static", f.format)
	case f.layer != "" && (f.format != "layout" || f.into != "" || len(f.platforms) > 0):
		return nil, into, errors.New("read --layer: a layer has no form and no platform; leave out --format, --into and --platform")
	case f.layer != "" && (f.lazy() != "" || f.first != ""):
		return nil, into, errors.New("read --layer: only the layers of an image are converted; leave out --estargz and --zstd-chunked")
	case f.estargz && f.zstdChunked:
		return nil, into, errors.New("read --estargz and --zstd-chunked: a layer is one or the other; leave out one of them")
	case f.first != "" && f.lazy() == "":
		return nil, into, errors.New("read --estargz-prioritize: the layers are left as they are; add --estargz")
	case static && f.name == "":
		return nil, into, errors.New("read --format static: the image needs a name there; add --name NAME:TAG")
	case !static && f.schema1:
		return nil, into, errors.New("read --schema1: only the format static has such manifests; add --format static")
	case !static && f.into != "":
		return nil, into, errors.New("read --into: only the format static holds several images; add --format static")
	}
	if f.into != "" {
		ref, err := lasting(f.into)
		if err != nil {
			return nil, into, err
		}
		if ref.Path.Rest != "" || ref.Tag != "" || ref.Digest != "" {
			return nil, into, fmt.Errorf("read --into %q: it is more than a CID; give the CID alone", f.into)
		}
		into = ref.Path.Root
	}
	if f.chunker != string(publish.UnixFSv1) && f.chunker != string(publish.KuboLegacy) {
		return nil, into, fmt.Errorf("read --chunker %q: no such profile; use %s or %s", f.chunker, publish.UnixFSv1, publish.KuboLegacy)
	}
	platforms, err = parsePlatforms(f.platforms)
	return platforms, into, err
}
