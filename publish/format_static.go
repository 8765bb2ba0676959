package publish

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// static makes a directory that is an OCI image layout and, of the same files, a
// registry that any server of files can serve: v2/<repository>/manifests,
// …/blobs and …/tags/list. It depends on nothing but the images that are in it
// and their names, not on the order in which they came.
func (p *push) static(ctx context.Context) (Result, error) {
	repository, tag, err := splitName(p.name)
	if err != nil {
		return Result{}, err
	}
	attached, err := p.attach(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := p.addBlobs(ctx); err != nil {
		return Result{}, err
	}
	for _, m := range p.manifests {
		if p.cids[m.desc.Digest], err = p.addBytes(ctx, m.data); err != nil {
			return Result{}, err
		}
	}
	s := newShelf(p)
	s.put(repository, p.transfer.src.Root(), tag)
	for _, desc := range attached {
		s.put(repository, desc, attachedTag(desc))
	}
	if p.base != nil {
		if err := s.keep(ctx, p.base); err != nil {
			return Result{}, err
		}
	}
	root, err := s.store(ctx)
	if err != nil {
		return Result{}, err
	}
	result, err := p.publish(ctx, root, plain(p.transfer.src.Root()), nil)
	result.Tag, result.Repository = tag, repository
	return result, err
}

// splitName takes REPOSITORY[:TAG] apart.
func splitName(name string) (repository, tag string, err error) {
	repository, tag, found := strings.Cut(name, ":")
	if !found {
		tag = "latest"
	}
	if !image.IsRepository(repository) || !image.IsTag(tag) {
		return "", "", fmt.Errorf("%s is no name of an image in a registry, REPOSITORY[:TAG]", quote(name))
	}
	return repository, tag, nil
}

// attachedTag is the tag by which something is attached, or nothing.
func attachedTag(desc ocispec.Descriptor) string {
	if tag := refName(desc); image.IsTag(tag) {
		return tag
	}
	return ""
}

// shelf is a static registry in the making. It is used by one goroutine.
type shelf struct {
	*push
	read  []*survey // where the manifests are that it has
	cids  map[digest.Digest]cid.Cid
	index []ocispec.Descriptor
	// repositories have the tags and the content of each.
	repositories map[string]*repository
}

type repository struct {
	tags    map[string]digest.Digest
	content map[digest.Digest]bool // whether it is a manifest
	more    []string               // tags that only a server of files has
}

func newShelf(p *push) *shelf {
	return &shelf{push: p, read: []*survey{p.survey}, cids: p.cids, repositories: map[string]*repository{}}
}

// put adds what is below desc to a repository, under a tag where it has one.
func (s *shelf) put(name string, desc ocispec.Descriptor, tag string) {
	r := s.repositories[name]
	if r == nil {
		r = &repository{tags: map[string]digest.Digest{}, content: map[digest.Digest]bool{}}
		s.repositories[name] = r
	}
	entry := tagged(desc, "")
	entry.ArtifactType = desc.ArtifactType
	if tag != "" {
		entry = tagged(desc, name+":"+tag)
		r.tags[tag] = desc.Digest
	}
	if !slices.ContainsFunc(s.index, func(d ocispec.Descriptor) bool {
		return d.Digest == entry.Digest && refName(d) == refName(entry)
	}) {
		s.index = append(s.index, entry)
	}
	s.fill(r, desc)
}

// fill adds what is below desc to a repository.
func (s *shelf) fill(r *repository, desc ocispec.Descriptor) {
	m := s.manifest(desc.Digest)
	r.content[desc.Digest] = m != nil
	if m == nil {
		return
	}
	for _, child := range m.kept {
		s.fill(r, child)
	}
}

func (s *shelf) manifest(dgst digest.Digest) *manifest {
	for _, from := range s.read {
		if m, ok := from.read[dgst]; ok && m.walked {
			return m
		}
	}
	return nil
}

// has reports whether a repository has a manifest.
func (s *shelf) has(name string, dgst digest.Digest) bool {
	r, ok := s.repositories[name]
	return ok && r.content[dgst]
}

// store puts the directory together.
func (s *shelf) store(ctx context.Context) (cid.Cid, error) {
	slices.SortFunc(s.index, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(refName(a), refName(b)), cmp.Compare(a.Digest, b.Digest))
	})
	index := newIndex()
	index.Manifests = s.index
	entries, files := map[string]cid.Cid{}, map[string][]byte{}
	if s.schema1 {
		if err := s.addSchema1(ctx, files); err != nil {
			return cid.Undef, err
		}
	}
	documents := map[string]any{ocispec.ImageLayoutFile: layoutMarker(), ocispec.ImageIndexFile: index, "v2/index.html": struct{}{}}
	for name, r := range s.repositories {
		s.place(entries, "v2/"+name, r)
		documents["v2/"+name+"/tags/list"] = r.list(name)
	}
	for name, v := range documents {
		data, err := json.Marshal(v)
		if err != nil {
			return cid.Undef, err
		}
		files[name] = data
	}
	for name, data := range files {
		var err error
		if entries[name], err = s.addBytes(ctx, data); err != nil {
			return cid.Undef, err
		}
	}
	c, err := s.sink.AddDir(ctx, entries, s.chunker)
	if err != nil {
		return cid.Undef, fmt.Errorf("store the directory of %s: %w", s.name, err)
	}
	return c, nil
}

// place names the content of a repository, in the layout and below base.
func (s *shelf) place(entries map[string]cid.Cid, base string, r *repository) {
	for dgst, document := range r.content {
		dir := "/blobs/"
		if document {
			dir = "/manifests/"
		}
		entries[blobPath(dgst)], entries[base+dir+dgst.String()] = s.cids[dgst], s.cids[dgst]
	}
	for tag, dgst := range r.tags {
		entries[base+"/manifests/"+tag] = s.cids[dgst]
	}
}

// tagList is the answer to tags/list. OCI distribution spec, "Listing Tags".
type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

func (r *repository) list(name string) tagList {
	list := tagList{Name: name, Tags: []string{}}
	for tag := range r.tags {
		list.Tags = append(list.Tags, tag)
	}
	list.Tags = append(list.Tags, r.more...)
	slices.Sort(list.Tags)
	return list
}
