package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// The error codes of the OCI distribution spec, "Error Codes", and UNAVAILABLE,
// which it lacks and other registries send.
const (
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeDenied          = "DENIED"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestInvalid = "MANIFEST_INVALID"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeNameInvalid     = "NAME_INVALID"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeUnavailable     = "UNAVAILABLE"
	codeUnknown         = "UNKNOWN"
	codeUnsupported     = "UNSUPPORTED"
)

// errHeadLimit is why the context of a HEAD has ended.
var errHeadLimit = errors.New("the time for a HEAD is over")

// apiError is an error as the client reads it.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.message }

func unsupported(message string) error {
	return &apiError{http.StatusNotFound, codeUnsupported, message}
}

func malformedTag(ref string) error {
	return &image.Error{Class: image.Malformed, Op: fmt.Sprintf("read the tag %.140q", ref),
		Err: errors.New("it is no tag"), Hint: "use at most 128 letters, digits, underscores, periods and dashes, no period or dash at the beginning"}
}

// questionError is an error with the kind of question that it answers.
type questionError struct {
	kind kind
	err  error
}

func (e *questionError) Error() string { return e.err.Error() }
func (e *questionError) Unwrap() error { return e.err }

// apiErrorOf is where the class of a failure becomes a status and a code.
func apiErrorOf(err error) *apiError {
	var done *apiError
	if errors.As(err, &done) {
		return done
	}
	what := kindName
	var q *questionError
	if errors.As(err, &q) {
		what = q.kind
	}
	status, code := statusOf(image.ClassOf(err), what)
	return &apiError{status, code, err.Error()}
}

func statusOf(class image.Class, what kind) (status int, code string) {
	switch class {
	case image.NotFound:
		return http.StatusNotFound, unknownCode(what)
	case image.NotImage:
		return http.StatusNotFound, codeNameUnknown
	case image.Malformed:
		return http.StatusBadRequest, malformedCode(what)
	case image.Unavailable:
		return http.StatusGatewayTimeout, codeUnavailable
	case image.Corrupt:
		return http.StatusBadGateway, codeDigestInvalid
	case image.Denied:
		return http.StatusForbidden, codeDenied
	default:
		return http.StatusInternalServerError, codeUnknown
	}
}

func unknownCode(what kind) string {
	switch what {
	case kindManifest:
		return codeManifestUnknown
	case kindBlob:
		return codeBlobUnknown
	default:
		return codeNameUnknown
	}
}

func malformedCode(what kind) string {
	switch what {
	case kindBlob, kindReferrers:
		return codeDigestInvalid
	case kindManifest:
		return codeManifestInvalid
	default:
		return codeNameInvalid
	}
}

// refuse answers with an error. To a client that has gone it answers nothing.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return
	}
	if errors.Is(context.Cause(r.Context()), errHeadLimit) && image.ClassOf(err) == 0 {
		err = &image.Error{Class: image.Unavailable, Op: "answer a HEAD within " + h.headLimit.String(), Err: err,
			Hint: "a GET waits for as long as something arrives"}
	}
	h.observer.failed(err)
	e := apiErrorOf(err)
	if e.status >= http.StatusInternalServerError {
		h.log.Warn("could not answer", "path", r.URL.Path, "status", e.status, "error", err)
	}
	writeError(w, r, e)
}

// aborted notes a failure in an answer that had begun. A client that has gone
// is none.
func (h *handler) aborted(r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	h.observer.failed(err)
	h.log.Warn("aborted an answer", "path", r.URL.Path, "error", err)
}

// retryAfter is how many seconds a client should leave an image alone that
// nobody had in time.
const retryAfter = 10

func writeError(w http.ResponseWriter, r *http.Request, e *apiError) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{e.code, e.message}}})
	if err != nil {
		panic(err) // two strings always marshal
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	if e.status == http.StatusGatewayTimeout {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is no failure
	}
}
