// Package imagetest has what the tests of several packages need to speak of
// images: a Source in memory, the contract that every Source has to keep, and
// images of any shape, lying ones among them.
package imagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Store is a Source in memory. Its files are single raw blocks of any size and
// its directories are blocks of JSON: every CID is the hash of what it names.
type Store struct {
	mu    sync.Mutex
	files map[cid.Cid][]byte
	dirs  map[cid.Cid]map[string]cid.Cid
	// Opened counts the calls of Open that found a file.
	Opened int
	closed int
}

// Unclosed is how many files are open.
func (s *Store) Unclosed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Opened - s.closed
}

// NewStore returns an empty Store.
func NewStore() *Store {
	return &Store{files: map[cid.Cid][]byte{}, dirs: map[cid.Cid]map[string]cid.Cid{}}
}

// AddFile stores a file.
func (s *Store) AddFile(data []byte) cid.Cid {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := sum(cid.Raw, data)
	s.files[c] = data
	return c
}

// AddDir stores a directory tree; the names are slash-separated.
func (s *Store) AddDir(entries map[string]cid.Cid) cid.Cid {
	below := map[string]map[string]cid.Cid{}
	dir := map[string]cid.Cid{}
	for name, c := range entries {
		if first, rest, nested := strings.Cut(name, "/"); nested {
			if below[first] == nil {
				below[first] = map[string]cid.Cid{}
			}
			below[first][rest] = c
			continue
		}
		dir[name] = c
	}
	for name, sub := range below {
		dir[name] = s.AddDir(sub)
	}
	data, err := json.Marshal(dir)
	if err != nil {
		panic(err) // strings and CIDs always marshal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := sum(cid.DagProtobuf, data)
	s.dirs[c] = dir
	return c
}

// Remove forgets a file or directory, as if nobody had it any more.
func (s *Store) Remove(c cid.Cid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, c)
	delete(s.dirs, c)
}

func sum(codec uint64, data []byte) cid.Cid {
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		panic(err) // SHA-256 is always there
	}
	return cid.NewCidV1(codec, mh)
}

// Open implements image.Source.
func (s *Store) Open(ctx context.Context, p image.Path) (image.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := p.Root
	for name := range strings.SplitSeq(p.Rest, "/") {
		if name == "" {
			continue
		}
		dir, ok := s.dirs[c]
		if !ok && s.files[c] == nil {
			return nil, unavailable(p, c)
		}
		if c, ok = dir[name]; !ok {
			return nil, &image.Error{Class: image.NotFound, Op: "open " + p.String(), Err: errors.New("no such name: " + name)}
		}
	}
	if dir, ok := s.dirs[c]; ok {
		names := slices.Sorted(maps.Keys(dir))
		return nil, &image.NotFileError{Path: p, Kind: "directory", Entries: names[:min(len(names), 10)]}
	}
	data, ok := s.files[c]
	if !ok {
		return nil, unavailable(p, c)
	}
	s.Opened++
	return &file{Reader: bytes.NewReader(data), ctx: ctx, c: c, close: sync.OnceFunc(s.close)}, nil
}

func (s *Store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
}

func unavailable(p image.Path, c cid.Cid) error {
	return &image.Error{Class: image.Unavailable, Op: "open " + p.String(), Err: errors.New("nobody has " + c.String())}
}

type file struct {
	*bytes.Reader
	ctx   context.Context
	c     cid.Cid
	close func()
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.Reader.Read(p)
}

func (f *file) CID() cid.Cid { return f.c }

func (f *file) Close() error {
	f.close()
	return nil
}
