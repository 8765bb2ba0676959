package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Names resolves names that move. Errors are of the classes of [image.Error].
type Names interface {
	// Current returns what m leads to now, or did when it could last be resolved.
	Current(ctx context.Context, m image.Moving) (image.Version, error)
	// Recent returns what m led to of late, the newest first.
	Recent(m image.Moving) []image.Path
	// Used says that a pull goes on with one of them.
	Used(m image.Moving, p image.Path)
}

// askName answers about a name that moves. What is asked for by digest belongs
// to a pull that began with a tag, and the name may have moved since: it is
// looked for where the name led of late, so that the pull ends with the version
// that it began with. A tag is of what the name leads to now.
func (h *handler) askName(r *http.Request, q question, m image.Moving) (responder, error) {
	if h.names == nil {
		return nil, &questionError{kindName, &image.Error{Class: image.Denied, Op: "resolve " + m.String(),
			Err: errors.New("names that move are off"), Hint: "name the image by its CID"}}
	}
	if dgst, err := image.ParseDigest(q.ref); err == nil {
		if res, err := h.askRecent(r, q, m, dgst); res != nil || err != nil {
			return res, err
		}
	}
	v, err := h.names.Current(r.Context(), m)
	if err != nil {
		return nil, &questionError{kindName, err}
	}
	res, err := h.ask(r, q, h.images, v.Path)
	if err != nil {
		return nil, err
	}
	h.names.Used(m, v.Path)
	if v.Stale == nil {
		return res, nil
	}
	return &stale{res, m, v}, nil
}

// askRecent asks the version that is known to have the digest, then all, until
// one can't be had. It returns nothing where no version has it.
func (h *handler) askRecent(r *http.Request, q question, m image.Moving, dgst digest.Digest) (responder, error) {
	recent := h.names.Recent(m)
	for _, p := range recent {
		if !h.images.Knows(p, dgst) {
			continue
		}
		if res, err := h.ask(r, q, h.images, p); err == nil {
			h.names.Used(m, p)
			return res, nil
		}
	}
	if q.kind == kindReferrers {
		return nil, nil // to which no version says no
	}
	for _, p := range recent {
		res, err := h.ask(r, q, h.images, p)
		switch image.ClassOf(err) {
		case image.NotFound, image.NotImage:
			continue
		}
		if err == nil {
			h.names.Used(m, p)
		}
		return res, err
	}
	return nil, nil
}

// stale answers with what a name led to when it could last be resolved.
type stale struct {
	responder
	name    image.Moving
	version image.Version
}

// maxWarning bounds the text of a warning, in bytes. OCI distribution spec,
// "Warnings", allows 4,096 in all.
const maxWarning = 1024

func (s *stale) respond(w http.ResponseWriter, r *http.Request) {
	text := fmt.Sprintf("%s could not be resolved again; this is what it led to at %s: %v",
		s.name, s.version.Since.UTC().Format(time.RFC3339), s.version.Stale)
	w.Header().Set("Warning", `299 - "`+quotable(text)+`"`)
	s.responder.respond(w, r)
}

// quotable leaves of a text what a quoted string of a header may have.
func quotable(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return ' '
		}
		return r
	}, text)
	return text[:min(len(text), maxWarning)]
}
