package pin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	// maxSignatures is how many signatures of a manifest are looked at.
	maxSignatures = 64
	// maxSignature is how many bytes one may have, and maxKeys the file of keys.
	maxSignature = 1 << 20
	maxKeys      = 64 << 10
	// keptSigned is of how many images it is remembered what is signed.
	keptSigned = 512
)

// Signed decides which manifests are signed by a key of a file, by cosign's
// signatures that an image carries: bundles that refer to a manifest by their
// subject, and the manifests tagged sha256-<digest>.sig. What is below a signed
// manifest is signed with it. What is attached to it is not, but for signatures
// that are nothing else: anybody can attach an image to an image.
type Signed struct {
	images Images
	file   string
	known  *lru.Cache[image.Path, *signedSet]

	mu   sync.Mutex
	read fileState
	keys []verifyKey
}

// signedSet are the digests of an image that are signed.
type signedSet struct {
	keys  fileState
	dgsts map[digest.Digest]bool
	// why says of the manifests that are not signed why not.
	why map[digest.Digest]error
}

// NewSigned returns a Signed by the public keys, PEM, in a file. The file is
// read again when it changes; while it can't be read nothing is signed.
func NewSigned(images Images, file string) *Signed {
	known, err := lru.New[image.Path, *signedSet](keptSigned)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &Signed{images: images, file: file, known: known}
}

// CheckKeys says what is wrong with a file of public keys.
func CheckKeys(file string) error {
	_, _, err := NewSigned(nil, file).current()
	return err
}

// Admit refuses what is not signed; dgst "" asks whether anything is.
func (s *Signed) Admit(ctx context.Context, p image.Path, dgst digest.Digest) error {
	set, err := s.of(ctx, p)
	if err != nil {
		return err
	}
	if set.dgsts[dgst] || dgst == "" && len(set.dgsts) > 0 {
		return nil
	}
	why := set.why[dgst]
	for _, other := range set.why {
		if why == nil && dgst == "" || len(set.dgsts) == 0 && why == nil {
			why = other
		}
	}
	if why == nil {
		why = errors.New("it belongs to no manifest that is signed")
	}
	op := "keep or serve " + p.String()
	if dgst != "" {
		op = "keep or serve " + dgst.String() + " of " + p.String()
	}
	return &image.Error{Class: image.Denied, Op: op,
		Err:  fmt.Errorf("policy.key demands a signature by a key of %s: %w", s.file, why),
		Hint: "sign it with cosign and push it again, with its signature"}
}

// AdmitAll refuses to keep an image that has, among its manifests, one that
// containers can be made of and that is not signed.
func (s *Signed) AdmitAll(ctx context.Context, p image.Path, manifests []digest.Digest) error {
	set, err := s.of(ctx, p)
	if err != nil {
		return err
	}
	if len(set.dgsts) == 0 {
		return s.Admit(ctx, p, "")
	}
	w := &signedWalk{Signed: s, path: p}
	for _, dgst := range manifests {
		if set.dgsts[dgst] {
			continue
		}
		if set.why[dgst] != nil {
			return s.Admit(ctx, p, dgst)
		}
		m, err := w.document(ctx, dgst.String())
		if err != nil {
			return err
		}
		if m.runs() {
			return s.Admit(ctx, p, dgst)
		}
	}
	return nil
}

// runs reports whether containers could be made of it.
func (s *summary) runs() bool {
	return len(s.Manifests) > 0 || slices.ContainsFunc(s.Layers, func(desc ocispec.Descriptor) bool {
		return strings.Contains(desc.MediaType, ".image.")
	})
}

// signs reports whether there is nothing but signatures in it.
func (s *summary) signs() bool {
	return len(s.Manifests) == 0 && len(s.Layers) > 0 && !slices.ContainsFunc(s.Layers, func(desc ocispec.Descriptor) bool {
		return desc.MediaType != signedType && !strings.HasPrefix(desc.MediaType, bundleType)
	})
}

// of finds what is signed of the image at p.
func (s *Signed) of(ctx context.Context, p image.Path) (*signedSet, error) {
	keys, state, err := s.current()
	if err != nil {
		return nil, err
	}
	if set, ok := s.known.Get(p); ok && set.keys == state {
		return set, nil
	}
	w := &signedWalk{Signed: s, path: p, trusted: keys, set: &signedSet{keys: state, dgsts: map[digest.Digest]bool{}, why: map[digest.Digest]error{}}}
	if err := w.all(ctx); err != nil {
		return nil, err
	}
	s.known.Add(p, w.set)
	return w.set, nil
}

func (s *Signed) current() ([]verifyKey, fileState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.file)
	if err != nil {
		return nil, fileState{}, s.unreadable(err)
	}
	now := fileState{info.Size(), info.ModTime()}
	if s.keys != nil && now == s.read {
		return s.keys, now, nil
	}
	data, err := readFile(s.file, maxKeys)
	if err == nil {
		s.keys, err = parseKeys(data)
	}
	if err != nil {
		s.keys = nil
		return nil, now, s.unreadable(err)
	}
	s.read = now
	return s.keys, now, nil
}

func (s *Signed) unreadable(err error) error {
	return &image.Error{Class: image.Denied, Op: "read policy.key", Err: fmt.Errorf("nothing is kept or served without it: %w", err),
		Hint: "name a file with a public key in PEM, as \"cosign generate-key-pair\" writes it"}
}
