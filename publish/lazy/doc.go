// Package lazy makes layers of which a container's file system reads only the
// files that are opened: eStargz and zstd:chunked.
//
// It packs the same tar into the same bytes on every machine, whatever its
// cores are.
package lazy
