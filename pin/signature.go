package pin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The media types, annotations and names of what cosign writes.
const (
	bundleType       = "application/vnd.dev.sigstore.bundle"
	signedType       = "application/vnd.dev.cosign.simplesigning.v1+json"
	signedAnnotation = "dev.cosignproject.cosign/signature"
	signedKind       = "cosign container image signature"
	statementType    = "application/vnd.in-toto+json"
	signPredicate    = "https://sigstore.dev/cosign/sign/v1"
)

var (
	errOtherKey    = errors.New("it is of another key, or was changed")
	errOtherDigest = errors.New("it is for another digest")
)

// verifyKey is a public key that images may be signed with.
type verifyKey struct{ crypto.PublicKey }

// parseKeys reads public keys in PEM, as "cosign generate-key-pair" writes one.
func parseKeys(data []byte) ([]verifyKey, error) {
	var keys []verifyKey
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("it has a %q, and only public keys may be there", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		switch key.(type) {
		case *ecdsa.PublicKey, ed25519.PublicKey, *rsa.PublicKey:
			keys = append(keys, verifyKey{key})
		default:
			return nil, fmt.Errorf("a key of the type %T is not supported", key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no public key in PEM")
	}
	return keys, nil
}

// verifies reports whether sig is of message by the key, with SHA-256 where the
// key is of a kind that signs a hash.
func (k verifyKey) verifies(message, sig []byte) bool {
	sum := sha256.Sum256(message)
	switch key := k.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, sum[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) == nil || rsa.VerifyPSS(key, crypto.SHA256, sum[:], sig, nil) == nil
	}
	return false
}

func anyVerifies(keys []verifyKey, message, sig []byte) bool {
	return slices.ContainsFunc(keys, func(k verifyKey) bool { return k.verifies(message, sig) })
}

// checkPayload checks a signature that cosign attaches by a tag: a payload, and
// in an annotation the signature of it.
func checkPayload(keys []verifyKey, payload, sig []byte, dgst digest.Digest) error {
	if !anyVerifies(keys, payload, sig) {
		return errOtherKey
	}
	var signed struct {
		Critical struct {
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &signed); err != nil {
		return fmt.Errorf("its payload is malformed: %w", err)
	}
	if signed.Critical.Type != signedKind {
		return fmt.Errorf("it signs a %.50q and no image", signed.Critical.Type)
	}
	if signed.Critical.Image.Digest != dgst {
		return errOtherDigest
	}
	return nil
}

// bundle is what matters here of a sigstore bundle. Where the signature is of a
// DSSE envelope, that has a statement of in-toto about digests.
type bundle struct {
	MediaType string `json:"mediaType"`
	Envelope  *struct {
		Payload     []byte `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
}

// statement is what a bundle states.
type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string `json:"predicateType"`
}

// checkBundle checks a sigstore bundle. The key is ours, so that neither a
// certificate nor a transparency log has a say.
func checkBundle(keys []verifyKey, data []byte, dgst digest.Digest) error {
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		return fmt.Errorf("it is malformed: %w", err)
	}
	if !strings.HasPrefix(b.MediaType, bundleType) || b.Envelope == nil || b.Envelope.PayloadType != statementType {
		return errors.New("it is a bundle without a statement about an image")
	}
	message := preAuth(b.Envelope.PayloadType, b.Envelope.Payload)
	signed := false
	for _, s := range b.Envelope.Signatures[:min(len(b.Envelope.Signatures), maxSignatures)] {
		signed = signed || anyVerifies(keys, message, s.Sig)
	}
	if !signed {
		return errOtherKey
	}
	return checkStatement(b.Envelope.Payload, dgst)
}

func checkStatement(payload []byte, dgst digest.Digest) error {
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return fmt.Errorf("its statement is malformed: %w", err)
	}
	if s.PredicateType != signPredicate {
		return fmt.Errorf("it attests %.100q and is no signature", s.PredicateType)
	}
	for _, subject := range s.Subject {
		if hex, ok := subject.Digest[dgst.Algorithm().String()]; ok && hex == dgst.Encoded() {
			return nil
		}
	}
	return errOtherDigest
}

// preAuth is what a DSSE envelope's signature is of: "Pre-Authentication
// Encoding" of its specification, version 1.
func preAuth(kind string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)
}
