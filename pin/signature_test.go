package pin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// signer signs as cosign does with a key of the kind.
type signer struct {
	public []byte // PEM
	sign   func(message []byte) []byte
}

func signers(t testing.TB) map[string]signer {
	t.Helper()
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	primes, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]signer{}
	for name, key := range map[string]crypto.Signer{"ECDSA": curve, "Ed25519": edwards, "RSA": primes} {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		all[name] = signer{pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), func(message []byte) []byte {
			hashed, hash := message, crypto.Hash(0)
			if name != "Ed25519" {
				sum := sha256.Sum256(message)
				hashed, hash = sum[:], crypto.SHA256
			}
			sig, err := key.Sign(rand.Reader, hashed, hash)
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}}
	}
	return all
}

func payloadOf(dgst digest.Digest, kind string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"r"},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, dgst, kind)
}

func bundleOf(s signer, dgst digest.Digest, predicate string) []byte {
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`, dgst.Encoded(), predicate)
	data, err := json.Marshal(map[string]any{"mediaType": bundleType + ".v0.3+json", "dsseEnvelope": map[string]any{
		"payload": payload, "payloadType": statementType,
		"signatures": []any{map[string]string{"sig": base64.StdEncoding.EncodeToString(s.sign(preAuth(statementType, payload)))}},
	}})
	if err != nil {
		panic(err) // of strings
	}
	return data
}

// A signature counts for its key, its digest and its purpose, and for no other.
func TestSignatures(t *testing.T) {
	dgst, other := digest.FromString("signed"), digest.FromString("another")
	all := signers(t)
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			keys, err := parseKeys(s.public)
			if err != nil {
				t.Fatal(err)
			}
			wrong := signers(t)[name]
			both, err := parseKeys(append(wrong.public, s.public...))
			if err != nil || len(both) != 2 {
				t.Fatal(len(both), err)
			}
			payload := payloadOf(dgst, signedKind)
			sig := s.sign(payload)
			for what, trusted := range map[string][]verifyKey{"one key": keys, "two keys": both} {
				if err := checkPayload(trusted, payload, sig, dgst); err != nil {
					t.Errorf("%s: a good signature: %v", what, err)
				}
				if err := checkBundle(trusted, bundleOf(s, dgst, signPredicate), dgst); err != nil {
					t.Errorf("%s: a good bundle: %v", what, err)
				}
			}
			if err := checkPayload(keys, payload, sig, other); !errors.Is(err, errOtherDigest) {
				t.Errorf("for another digest: %v", err)
			}
			if err := checkPayload(keys, payloadOf(other, signedKind), sig, other); !errors.Is(err, errOtherKey) {
				t.Errorf("forged: %v", err)
			}
			if err := checkPayload(keys, payload, wrong.sign(payload), dgst); !errors.Is(err, errOtherKey) {
				t.Errorf("by another key: %v", err)
			}
			if why := payloadOf(dgst, "atomic"); checkPayload(keys, why, s.sign(why), dgst) == nil {
				t.Error("a signature for another purpose counts")
			}
			if err := checkBundle(keys, bundleOf(s, dgst, signPredicate), other); !errors.Is(err, errOtherDigest) {
				t.Errorf("a bundle for another digest: %v", err)
			}
			if err := checkBundle(keys, bundleOf(wrong, dgst, signPredicate), dgst); !errors.Is(err, errOtherKey) {
				t.Errorf("a bundle by another key: %v", err)
			}
			if checkBundle(keys, bundleOf(s, dgst, "https://spdx.dev/Document"), dgst) == nil {
				t.Error("an attestation counts as a signature")
			}
		})
	}
}

func TestParseKeys(t *testing.T) {
	private := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")})
	for name, data := range map[string][]byte{"nothing": nil, "no PEM": []byte("key"), "a private key": private,
		"no key": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})} {
		if keys, err := parseKeys(data); err == nil {
			t.Errorf("%s gave %v", name, keys)
		}
	}
}

// Whatever is in the place of a signature, without the key it does not count.
func FuzzSignature(f *testing.F) {
	s := signers(f)["Ed25519"]
	keys, err := parseKeys(s.public)
	if err != nil {
		f.Fatal(err)
	}
	dgst := digest.FromString("signed")
	f.Add(bundleOf(signers(f)["Ed25519"], dgst, signPredicate), []byte("sig"))
	f.Add(payloadOf(dgst, signedKind), s.sign([]byte("another")))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle","dsseEnvelope":{"signatures":[{"sig":null}]}}`), []byte{})
	f.Fuzz(func(t *testing.T, data, sig []byte) {
		if checkBundle(keys, data, dgst) == nil || checkPayload(keys, data, sig, dgst) == nil {
			t.Error("it counts")
		}
		_, _ = parseKeys(data)
	})
}
