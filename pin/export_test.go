package pin

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestKey is a key to sign with.
type TestKey struct{ s signer }

// NewTestKey makes a key.
func NewTestKey(t testing.TB) TestKey { return TestKey{signers(t)["ECDSA"]} }

// Public is the public key in PEM.
func (k TestKey) Public() []byte { return k.s.public }

// Bundle is a sigstore bundle with a signature of the digest.
func (k TestKey) Bundle(dgst digest.Digest) []byte { return bundleOf(k.s, dgst, signPredicate) }

// BundleType is the media type of bundles.
const BundleType = bundleType + ".v0.3+json"
