package registry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Options are the optional parts of the handler.
type Options struct {
	// Log gets one line a request at debug, and failures of ours at error; nil
	// discards them.
	Log *slog.Logger
	// Names resolves names that move; nil means that there are none.
	Names Names
	// Mirror answers for other registries; nil means for none.
	Mirror *Mirror
	// Metrics is where the request metrics are registered; nil nowhere.
	Metrics prometheus.Registerer
	// HeadLimit is how long a HEAD may take in all, however much arrives; 0
	// is for ever. A GET is bounded by what its images are.
	HeadLimit time.Duration
}

type handler struct {
	images   Images
	names    Names
	mirror   *Mirror
	log      *slog.Logger
	observer *observer
	// headLimit is Options.HeadLimit.
	headLimit time.Duration
}

// New returns the distribution API, read side, for images. It answers GET and
// HEAD below /v2/; every other method is 405.
func New(images Images, o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{images: images, names: o.Names, mirror: o.Mirror, log: o.Log,
		observer: newObserver(o), headLimit: o.HeadLimit}
	r := chi.NewRouter()
	r.Use(h.observer.observe, readOnly)
	r.NotFound(h.answer(func(*http.Request) (responder, error) {
		return nil, unsupported("this is an OCI registry: its API is below /v2/")
	}))
	r.HandleFunc("/v2", h.ping)
	r.HandleFunc("/v2/", h.ping)
	r.HandleFunc("/v2/*", h.answer(h.route))
	return r
}

// readOnly refuses what is not a question. OCI distribution spec, "Endpoints":
// the push and deletion endpoints are those with other methods.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// Else net/http waits for the body, which nobody wants, before it answers.
			w.Header().Set("Connection", "close")
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, r, &apiError{http.StatusMethodNotAllowed, codeUnsupported, "this registry is read-only; push with \"ipfs-registry push\""})
	})
}

// ping is the "determine support" endpoint of the specification.
func (h *handler) ping(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "2")
	if r.Method == http.MethodGet {
		_, _ = w.Write([]byte("{}")) // a client that has gone is no failure
	}
}

// responder writes the whole answer to a question that has one.
type responder interface {
	respond(w http.ResponseWriter, r *http.Request)
}

// answer is the one place where an error becomes a response.
func (h *handler) answer(ask func(*http.Request) (responder, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		if ns := r.URL.Query().Get("ns"); isHost(ns) {
			w.Header().Set("OCI-Namespace", ns)
		}
		r, cancel := h.bound(r)
		defer cancel()
		res, err := ask(r)
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		res.respond(w, r)
	}
}

// bound bounds a HEAD: what asks by HEAD decides by it what to do, and has no
// use for bytes that still come.
func (h *handler) bound(r *http.Request) (*http.Request, context.CancelFunc) {
	if r.Method != http.MethodHead || h.headLimit == 0 {
		return r, func() {}
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), h.headLimit, errHeadLimit)
	return r.WithContext(ctx), cancel
}

// route turns a URL into a question and finds out whom it is for: an image by
// its CID, by a name that moves, or the image of another registry.
func (h *handler) route(r *http.Request) (responder, error) {
	q, err := parsePath(r.URL.Path)
	if err != nil {
		return nil, err
	}
	observe(r, q.kind)
	m, moves, err := image.ParseMoving(q.name)
	if moves && err == nil {
		return h.askName(r, q, m)
	}
	name, fixedErr := image.ParseName(q.name)
	if fixedErr == nil {
		return h.ask(r, q, h.images, name)
	}
	if res, ok, err := h.askMirror(r, q); ok {
		return res, err
	}
	if !moves {
		err = fixedErr
	}
	return nil, &questionError{kindName, err}
}

// ask asks images the question about one of them.
func (h *handler) ask(r *http.Request, q question, images Images, name image.Path) (res responder, err error) {
	switch q.kind {
	case kindManifest:
		res, err = h.manifest(r, images, name, q.ref)
	case kindBlob:
		res, err = h.blob(r, images, name, q.ref)
	case kindTags:
		res, err = h.tags(r, images, q.name, name)
	default:
		res, err = h.referrers(r, images, name, q.ref)
	}
	if err != nil {
		return nil, &questionError{q.kind, err}
	}
	return res, nil
}

func (h *handler) manifest(r *http.Request, images Images, name image.Path, ref string) (responder, error) {
	_, err := image.ParseDigest(ref)
	byDigest := err == nil
	switch {
	case byDigest || image.IsTag(ref):
	case isDigestLike(ref):
		return nil, &apiError{http.StatusBadRequest, codeDigestInvalid, err.Error()}
	default:
		return nil, malformedTag(ref)
	}
	ctx, stop := context.WithCancel(r.Context())
	c, err := images.Manifest(ctx, name, ref)
	if err != nil {
		stop()
		return nil, err
	}
	return &content{Content: c, stop: stop, mediaType: c.Descriptor.MediaType, immutable: byDigest, aborted: h.aborted}, nil
}

// checkedAhead is how many bytes of what is asked for are checked before the
// answer begins, as far as they lie on the disk: then damage there is an error
// that the client can read, and no connection cut off. It takes some 0.1 s, once.
// Further on that holds for damage that is known.
const checkedAhead = 128 << 20

func (h *handler) blob(r *http.Request, images Images, name image.Path, ref string) (responder, error) {
	dgst, err := image.ParseDigest(ref)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(expecting(r))
	c, err := images.Blob(ctx, name, dgst)
	if err != nil {
		stop()
		return nil, err
	}
	from, n := needed(r.Header.Get("Range"), c.Size())
	if _, err = c.Seek(from, io.SeekStart); err == nil {
		err = c.Check(checkedAhead, n)
	}
	if err != nil {
		stop()
		_ = c.Close() // only read
		return nil, err
	}
	return &content{Content: c, stop: stop, mediaType: "application/octet-stream", immutable: true, aborted: h.aborted}, nil
}
