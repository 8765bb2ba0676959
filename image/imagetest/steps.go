package imagetest

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// Steps returns the CIDs that a path leads through, the last where it ends.
func (s *Store) Steps(p image.Path) ([]cid.Cid, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	steps := []cid.Cid{p.Root}
	for name := range strings.SplitSeq(p.Rest, "/") {
		if name == "" {
			continue
		}
		next, ok := s.dirs[steps[len(steps)-1]][name]
		if !ok {
			return nil, &image.Error{Class: image.NotFound, Op: "open " + p.String(), Err: errors.New("no such name: " + name)}
		}
		steps = append(steps, next)
	}
	return steps, nil
}

// Children returns what a directory has in it, nothing for a file, and whether
// c is there at all.
func (s *Store) Children(c cid.Cid) ([]cid.Cid, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if dir, ok := s.dirs[c]; ok {
		return slices.Collect(maps.Values(dir)), true
	}
	_, ok := s.files[c]
	return nil, ok
}
