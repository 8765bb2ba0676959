package image

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/opencontainers/go-digest"
)

// originOf names the bytes of f for good: a CID, and the section of it that f is.
func originOf(f File) string {
	if s, ok := f.(*sectionFile); ok {
		return fmt.Sprintf("%s@%d+%d", s.CID(), s.offset, s.size)
	}
	return f.CID().String()
}

// verdicts remembers which file, by its CID, has which digest. Both name
// immutable bytes, so a verdict never expires. The recent ones are in memory,
// all of them in the datastore. Only agreement is remembered: a lie is found
// out again each time.
type verdicts struct {
	recent *lru.Cache[verdict, struct{}]
	store  datastore.Datastore
	log    *slog.Logger
}

type verdict struct {
	origin string
	dgst   digest.Digest
}

func (v verdict) key() datastore.Key {
	return datastore.NewKey("/verified/" + v.origin + "/" + v.dgst.String())
}

func newVerdicts(store datastore.Datastore, log *slog.Logger) *verdicts {
	recent, err := lru.New[verdict, struct{}](8192)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &verdicts{recent: recent, store: store, log: log}
}

func (v *verdicts) verified(f File, dgst digest.Digest) bool {
	if _, part := f.(*sectionFile); !part && sameHash(f.CID(), dgst) {
		return true
	}
	key := verdict{originOf(f), dgst}
	if v.recent.Contains(key) {
		return true
	}
	// A datastore that fails costs one more hashing, never a wrong answer.
	if ok, err := v.store.Has(context.Background(), key.key()); err != nil || !ok {
		return false
	}
	v.recent.Add(key, struct{}{})
	return true
}

func (v *verdicts) remember(f File, dgst digest.Digest) {
	key := verdict{originOf(f), dgst}
	v.recent.Add(key, struct{}{})
	if err := v.store.Put(context.Background(), key.key(), nil); err != nil {
		v.log.Warn("could not keep a verification verdict", "file", key.origin, "digest", dgst, "error", err)
	}
}

// sha256Sum returns the hash that a digest of SHA-256 is.
func sha256Sum(dgst digest.Digest) ([]byte, bool) {
	if dgst.Validate() != nil || dgst.Algorithm() != digest.SHA256 {
		return nil, false
	}
	sum, err := hex.DecodeString(dgst.Encoded())
	return sum, err == nil
}

// sameHash reports whether the CID is of a raw block whose hash is the digest:
// then the one proof is the other.
func sameHash(c cid.Cid, dgst digest.Digest) bool {
	same := rawCID(dgst)
	return same.Defined() && same.Equals(c)
}
