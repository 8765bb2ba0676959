package main

import (
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/publish"
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
	json      *bool
}

// check reads the choices that have few values.
func (f *pushFlags) check() (platforms []ocispec.Platform, into cid.Cid, err error) {
	static := f.format == "static"
	switch {
	case f.format != "layout" && f.format != "nerdctl" && !static:
		return nil, into, fmt.Errorf("read --format %q: no such form; use layout, nerdctl or static", f.format)
	case f.layer != "" && (f.format != "layout" || f.into != "" || len(f.platforms) > 0):
		return nil, into, errors.New("read --layer: a layer has no form and no platform; leave out --format, --into and --platform")
	case static && f.name == "":
		return nil, into, errors.New("read --format static: the image needs a name there; add --name NAME:TAG")
	case !static && f.schema1:
		return nil, into, errors.New("read --schema1: only the format static has such manifests; add --format static")
	case !static && f.into != "":
		return nil, into, errors.New("read --into: only the format static holds several images; add --format static")
	}
	if f.into != "" {
		ref, err := reference(f.into)
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
