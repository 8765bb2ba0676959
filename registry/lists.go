package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// document answers with a JSON document made for the question.
type document struct {
	mediaType string
	header    http.Header
	body      any
}

func (d *document) respond(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(d.body)
	if err != nil {
		writeError(w, r, &apiError{http.StatusInternalServerError, codeUnknown, err.Error()})
		return
	}
	for name, values := range d.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", d.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // a client that has gone is no failure
	}
}

// tags answers tags/list. OCI distribution spec, "Listing Tags".
func (h *handler) tags(r *http.Request, images Images, repository string, name image.Path) (responder, error) {
	all, err := images.Tags(r.Context(), name)
	if err != nil {
		return nil, err
	}
	return tagList(r, repository, all)
}

// tagList is the page of the sorted tags that r asks for.
func tagList(r *http.Request, repository string, all []string) (responder, error) {
	page, more, err := paginate(all, r.URL.Query())
	if err != nil {
		return nil, err
	}
	d := &document{mediaType: "application/json", header: http.Header{}, body: struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{repository, page}}
	if more {
		next := url.Values{"n": {strconv.Itoa(len(page))}, "last": {page[len(page)-1]}}
		d.header.Set("Link", fmt.Sprintf("</v2/%s/tags/list?%s>; rel=\"next\"", repository, next.Encode()))
	}
	return d, nil
}

// paginate returns the sorted names after "last", at most "n" of them, and
// whether more follow. With n=0 nothing follows, as the spec says.
func paginate(all []string, query url.Values) (page []string, more bool, err error) {
	page = all
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		page = all[i:]
	}
	limit := query.Get("n")
	if limit == "" {
		return append([]string{}, page...), false, nil
	}
	n, err := strconv.Atoi(limit)
	if err != nil || n < 0 {
		return nil, false, &apiError{http.StatusBadRequest, codeUnsupported, fmt.Sprintf("n=%.20q is no number of tags", limit)}
	}
	more = n > 0 && n < len(page)
	return append([]string{}, page[:min(n, len(page))]...), more, nil
}

// referrers answers the referrers API: always an index, an empty one where
// there is nothing. OCI distribution spec, "Listing Referrers".
func (h *handler) referrers(r *http.Request, images Images, name image.Path, ref string) (responder, error) {
	dgst, err := image.ParseDigest(ref)
	if err != nil {
		return nil, err
	}
	list, err := images.Referrers(r.Context(), name, dgst)
	if err != nil {
		return nil, err
	}
	d := &document{mediaType: ocispec.MediaTypeImageIndex, header: http.Header{}}
	if want := r.URL.Query().Get("artifactType"); want != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(desc ocispec.Descriptor) bool { return desc.ArtifactType != want })
		d.header.Set("OCI-Filters-Applied", "artifactType")
	}
	d.body = ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: append([]ocispec.Descriptor{}, list...)}
	return d, nil
}
