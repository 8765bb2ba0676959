package pin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/opencontainers/go-digest"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// What Policy.Serve may say.
const (
	// ServeAny serves every image.
	ServeAny = "any"
	// ServePinned serves what is kept, and no more of it than is kept.
	ServePinned = "pinned"
	// ServeList serves what a file lists.
	ServeList = "list"
)

// Policy says which images may be served and kept. nil admits everything.
type Policy struct {
	// Serve is one of the Serve constants; "" means ServeAny.
	Serve string
	// List is the file for ServeList: on each line the CID of a root, which
	// admits all below it, or the digest of a manifest, which admits that and
	// what is below it in whatever root. What follows a # is a comment. It is
	// read again when it changes; while it cannot be read nothing is served.
	List string

	mu   sync.Mutex
	read *listing // nil as long as it was not
}

// listing is what a list says as long as its file is in that state.
type listing struct {
	state fileState
	roots map[cid.Cid]bool
	dgsts []digest.Digest
}

// fileState tells a file that was changed.
type fileState struct {
	size int64
	when time.Time
}

const (
	// maxList is the most bytes that a list may have.
	maxList = 16 << 20
	// maxListed is how many digests a list may have: an image is searched for
	// each of them.
	maxListed = 10_000
)

// open says that everything is admitted.
func (p *Policy) open() bool { return p == nil || p.Serve == "" || p.Serve == ServeAny }

// listed returns what the file lists now.
func (p *Policy) listed() (*listing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.List)
	if err != nil {
		return nil, p.unreadable(err)
	}
	now := fileState{info.Size(), info.ModTime()}
	if p.read != nil && p.read.state == now {
		return p.read, nil
	}
	data, err := readFile(p.List, maxList)
	if err != nil {
		return nil, p.unreadable(err)
	}
	roots, dgsts, err := parseList(bytes.NewReader(data))
	if err != nil {
		return nil, p.unreadable(err)
	}
	p.read = &listing{now, roots, dgsts}
	return p.read, nil
}

// readFile reads a file of no more than most bytes.
func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return data, err
}

func (p *Policy) unreadable(err error) error {
	return &image.Error{Class: image.Denied, Op: "read policy.list", Err: fmt.Errorf("nothing is served without it: %w", err),
		Hint: "list root CIDs and manifest digests in it, one on a line"}
}

// parseList reads a list of roots and digests.
func parseList(r io.Reader) (map[cid.Cid]bool, []digest.Digest, error) {
	roots, dgsts := map[cid.Cid]bool{}, []digest.Digest{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if dgst, err := image.ParseDigest(text); err == nil {
			dgsts = append(dgsts, dgst)
			continue
		}
		ref, err := image.ParseReference(text)
		if err != nil || ref != (image.Reference{Path: image.Path{Root: ref.Path.Root}}) {
			return nil, nil, fmt.Errorf("line %d: %.100q is neither a CID nor a digest", n, text)
		}
		roots[ref.Path.Root] = true
	}
	if len(dgsts) > maxListed {
		return nil, nil, fmt.Errorf("it has %d digests, more than %d", len(dgsts), maxListed)
	}
	return roots, dgsts, lines.Err()
}

// admitKeeping decides whether an image may be kept.
func (p *Policy) admitKeeping(_ context.Context, i *Image, c *image.Closure) error {
	if p.open() || p.Serve != ServeList {
		return nil
	}
	list, err := p.listed()
	if err != nil || list.roots[i.Root] {
		return err
	}
	for _, listed := range list.dgsts {
		for _, has := range c.Manifests {
			if has == listed && i.narrow() {
				return nil
			}
		}
	}
	return deniedByList("keep", i.Path(), p.List)
}

// narrow reports whether an image is one manifest and what is below it.
func (i *Image) narrow() bool { return i.Ref != "" || len(i.Manifests) == 1 || len(i.Has) == 1 }

func deniedByList(op string, p image.Path, list string) error {
	return &image.Error{Class: image.Denied, Op: op + " " + p.String(),
		Err: errors.New("policy.serve is list, and " + list + " does not list it"), Hint: "add its CID, or the digest of its manifest, to that file"}
}

// NotPinned is the error for what ServePinned does not admit.
func NotPinned(p image.Path) error {
	return &image.Error{Class: image.Denied, Op: "serve " + p.String(),
		Err: errors.New("policy.serve is pinned, and it is not kept here"), Hint: "keep it with \"ipfs-registry pin add\""}
}
