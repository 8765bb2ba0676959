package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// dockerHub is the registry that Docker asks its mirrors about, and the only
// one, for which it does not say so.
const dockerHub = "docker.io"

// Kept knows which images are kept here.
type Kept interface {
	// Find returns a kept image that has the digest. It asks no network. The
	// error is NotFound when there is none.
	Find(ctx context.Context, dgst digest.Digest) (image.Path, error)
}

// Mirror answers for other registries, as containerd, BuildKit and Docker ask
// their mirrors: what is kept here, by digest, and the tags that Names maps.
// All else is 404 without looking further, so that the client asks the next.
type Mirror struct {
	Kept Kept
	// Here are the images as far as they are here: nothing is retrieved.
	Here Images
	// Names maps <registry>/<repository>:<tag> to what it is on IPFS.
	Names map[string]image.Reference
}

// askMirror answers a question about another registry's image. ok is false if
// it is none: its name is one that nobody but us would be asked for.
func (h *handler) askMirror(r *http.Request, q question) (res responder, ok bool, err error) {
	host := r.URL.Query().Get("ns")
	said := isHost(host)
	if !said {
		host = dockerHub
	}
	if h.mirror == nil || !image.IsName(q.name) {
		return nil, false, nil
	}
	dgst, err := image.ParseDigest(q.ref)
	switch {
	case err == nil:
		res, err = h.mirrorDigest(r, q, host, dgst)
	case q.kind == kindManifest && image.IsTag(q.ref):
		res, err = h.mirrorTag(r, q, host)
	case q.kind == kindTags:
		res, err = h.mirrorTags(r, q, host)
	default:
		return nil, said, &questionError{q.kind, err}
	}
	// Docker does not say that it asks a mirror. Whoever mistyped a CID does not
	// either, and needs to be told.
	if err != nil && !said && image.ClassOf(err) == image.NotFound {
		return nil, false, nil
	}
	return res, true, err
}

func (h *handler) mirrorDigest(r *http.Request, q question, host string, dgst digest.Digest) (responder, error) {
	for _, ref := range h.mapped(host, q.name) {
		if p, ok := h.knownAs(ref, dgst); ok {
			return h.ask(r, q, h.images, p)
		}
	}
	p, err := h.mirror.Kept.Find(r.Context(), dgst)
	if err != nil {
		return nil, &questionError{q.kind, err}
	}
	res, err := h.ask(r, q, h.mirror.Here, p)
	if image.ClassOf(err) == image.Unavailable {
		err = &questionError{q.kind, notMirrored(host, q, errors.New("a part of it is not here"))}
	}
	return res, err
}

// mapped are the references that the tags of a repository are mapped to.
func (h *handler) mapped(host, repository string) []image.Reference {
	var all []image.Reference
	for name, ref := range h.mirror.Names {
		if strings.HasPrefix(name, host+"/"+repository+":") {
			all = append(all, ref)
		}
	}
	return all
}

// knownAs returns which version of ref is known to have the digest.
func (h *handler) knownAs(ref image.Reference, dgst digest.Digest) (image.Path, bool) {
	candidates := []image.Path{ref.Path}
	if ref.Moving.Name != "" && h.names != nil {
		candidates = h.names.Recent(ref.Moving)
	}
	for _, p := range candidates {
		if h.images.Knows(p, dgst) {
			return p, true
		}
	}
	return image.Path{}, false
}

// mirrorTag answers with what the configuration says that a tag is. That is
// retrieved if need be: somebody wanted it.
func (h *handler) mirrorTag(r *http.Request, q question, host string) (res responder, err error) {
	ref, ok := h.mirror.Names[host+"/"+q.name+":"+q.ref]
	if !ok {
		return nil, &questionError{q.kind, notMirrored(host, q, errors.New("mirror.names maps no such name, and tags are answered for no other"))}
	}
	q.ref = ref.Ref()
	if ref.Moving.Name != "" {
		q.name = strings.TrimPrefix(ref.Moving.String(), "/")
		return h.askName(r, q, ref.Moving)
	}
	res, err = h.ask(r, q, h.images, ref.Path)
	if c, ok := res.(*content); ok {
		c.immutable = false // the tag can be mapped to another digest
	}
	return res, err
}

func (h *handler) mirrorTags(r *http.Request, q question, host string) (responder, error) {
	var tags []string
	for name := range maps.Keys(h.mirror.Names) {
		if tag, ok := strings.CutPrefix(name, host+"/"+q.name+":"); ok {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return nil, &questionError{q.kind, notMirrored(host, q, errors.New("mirror.names maps no tag of it"))}
	}
	slices.Sort(tags)
	return tagList(r, q.name, tags)
}

func notMirrored(host string, q question, why error) error {
	return &image.Error{Class: image.NotFound, Op: fmt.Sprintf("answer for %s/%s", host, q.name), Err: why}
}
