package registry

import (
	"fmt"
	"net/http"
	"strings"
)

// kind is what a URL asks for. Its text is the label of the metrics.
type kind string

const (
	kindName      kind = "name"
	kindManifest  kind = "manifest"
	kindBlob      kind = "blob"
	kindTags      kind = "tags"
	kindReferrers kind = "referrers"
)

// question is a URL of the distribution API, taken apart.
type question struct {
	kind kind
	name string // the repository name, unchecked
	ref  string // a tag or digest, unchecked; empty for tags
}

// parsePath takes /v2/<name>/<what>/<ref> apart from its end, because a name
// may have any number of segments, "blobs" and "manifests" among them. OCI
// distribution spec, "Endpoints".
func parsePath(path string) (question, error) {
	rest := strings.TrimPrefix(path, "/v2/")
	head, ref, ok := cutLast(rest)
	if !ok {
		return question{}, noEndpoint(path)
	}
	name, what, ok := cutLast(head)
	if !ok || name == "" {
		return question{}, noEndpoint(path)
	}
	switch {
	case what == "manifests":
		return question{kindManifest, name, ref}, nil
	case what == "blobs":
		return question{kindBlob, name, ref}, nil
	case what == "referrers":
		return question{kindReferrers, name, ref}, nil
	case what == "tags" && ref == "list":
		return question{kindTags, name, ""}, nil
	}
	return question{}, noEndpoint(path)
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func noEndpoint(path string) error {
	if len(path) > 300 {
		path = path[:300] + "…"
	}
	return &apiError{http.StatusNotFound, codeUnsupported, fmt.Sprintf(
		"%q is no endpoint of this registry; it answers /v2/<name>/manifests/<reference>, …/blobs/<digest>, …/tags/list and …/referrers/<digest>", path)}
}

// isDigestLike tells a mistyped digest from a mistyped tag: a tag has no colon.
func isDigestLike(ref string) bool { return strings.Contains(ref, ":") }

// isHost reports whether ns is fit to be sent back in a header: the name of a
// registry, as containerd gives it to mirrors.
func isHost(ns string) bool {
	return ns != "" && len(ns) <= 255 && !strings.ContainsFunc(ns, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", r)
	})
}
