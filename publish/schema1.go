package publish

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// schema1Suffix is what the tag of a schema 1 manifest ends in.
const schema1Suffix = "-schema1"

// schema1Manifest is the old manifest of Docker, which clients take for what a
// server of files sends without its media type. The order of the fields is that
// in which Docker signed them. Docker distribution, "Image Manifest Version 2,
// Schema 1".
type schema1Manifest struct {
	Name          string           `json:"name"`
	Tag           string           `json:"tag"`
	Architecture  string           `json:"architecture"`
	FSLayers      []schema1Layer   `json:"fsLayers"`
	History       []schema1History `json:"history"`
	SchemaVersion int              `json:"schemaVersion"`
}

type schema1Layer struct {
	BlobSum digest.Digest `json:"blobSum"`
}

type schema1History struct {
	V1Compatibility string `json:"v1Compatibility"`
}

// addSchema1 puts a schema 1 manifest beside each tag that is of one image.
func (s *shelf) addSchema1(ctx context.Context, files map[string][]byte) error {
	for name, r := range s.repositories {
		for _, tag := range slices.Sorted(maps.Keys(r.tags)) {
			data, dgst, err := s.asSchema1(ctx, name, tag+schema1Suffix, r.tags[tag])
			if errors.Is(err, errNoSchema1) && name+":"+tag != s.name {
				continue // it was there before, and nobody asked for it now
			}
			if err != nil {
				return err
			}
			files["v2/"+name+"/manifests/"+tag+schema1Suffix] = data
			files["v2/"+name+"/manifests/"+dgst.String()] = data
			r.more = append(r.more, tag+schema1Suffix)
		}
	}
	return nil
}

var errNoSchema1 = errors.New("schema 1 can't say what it is")

// asSchema1 returns a manifest and the digest by which Docker asks for it again:
// that of what is signed.
func (s *shelf) asSchema1(ctx context.Context, name, tag string, dgst digest.Digest) ([]byte, digest.Digest, error) {
	from, m, err := s.only(dgst)
	if err == nil {
		err = fitsSchema1(m)
	}
	if err != nil {
		return nil, "", malformed("make a schema 1 manifest of "+name+":"+strings.TrimSuffix(tag, schema1Suffix), err,
			"leave out --schema1, or push one --platform whose layers are gzip")
	}
	config, err := from.small(ctx, *m.document.Config)
	if err != nil {
		return nil, "", err
	}
	doc, err := newSchema1(name, tag, config, m.document.Layers)
	if err != nil {
		return nil, "", err
	}
	payload, err := json.Marshal(doc)
	if err != nil {
		return nil, "", err
	}
	data, err := sign(payload)
	return data, digest.FromBytes(payload), err
}

// only returns the one image manifest below a digest.
func (s *shelf) only(dgst digest.Digest) (*survey, *manifest, error) {
	for _, from := range s.read {
		m, ok := from.read[dgst]
		if !ok || !m.walked {
			continue
		}
		if !images.IsIndexType(m.desc.MediaType) {
			return from, m, nil
		}
		if len(m.kept) != 1 {
			return nil, nil, fmt.Errorf("%w: an index of %d manifests", errNoSchema1, len(m.kept))
		}
		return s.only(m.kept[0].Digest)
	}
	return nil, nil, fmt.Errorf("%w: %s is no manifest", errNoSchema1, dgst)
}

func fitsSchema1(m *manifest) error {
	if m.document.Config == nil || len(m.document.Layers) == 0 {
		return fmt.Errorf("%w: it has no config or no layers", errNoSchema1)
	}
	for _, layer := range m.document.Layers {
		if !strings.HasSuffix(layer.MediaType, "gzip") {
			return fmt.Errorf("%w: a layer of the media type %s", errNoSchema1, quote(layer.MediaType))
		}
	}
	return nil
}

// newSchema1 describes an image the old way: one entry a layer, the topmost
// first, which has the config.
func newSchema1(name, tag string, config []byte, layers []ocispec.Descriptor) (*schema1Manifest, error) {
	var top map[string]json.RawMessage
	var image ocispec.Image
	if err := errors.Join(json.Unmarshal(config, &top), json.Unmarshal(config, &image)); err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	delete(top, "rootfs")
	delete(top, "history")
	doc := &schema1Manifest{Name: name, Tag: tag, Architecture: image.Architecture, SchemaVersion: 1}
	parent := ""
	for i, layer := range layers {
		id := fmt.Sprintf("%x", sha256.Sum256([]byte(parent+layer.Digest.String()+string(config))))
		entry := map[string]any{"id": id}
		if parent != "" {
			entry["parent"] = parent
		}
		if i == len(layers)-1 {
			for key, value := range top {
				if key != "id" && key != "parent" {
					entry[key] = value
				}
			}
		}
		data, err := json.Marshal(entry)
		if err != nil {
			return nil, err
		}
		doc.FSLayers = append(doc.FSLayers, schema1Layer{layer.Digest})
		doc.History = append(doc.History, schema1History{string(data)})
		parent = id
	}
	slices.Reverse(doc.FSLayers)
	slices.Reverse(doc.History)
	return doc, nil
}

// sign makes the JSON web signature without which the manifest is not taken. It
// proves nothing, for everybody can make it: the key is known, so that the same
// image has the same manifest anywhere. What proves the image is the CID.
func sign(payload []byte) ([]byte, error) {
	seed := sha256.Sum256([]byte("ipfs-registry: no secret"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	if err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	protected := b64(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":"%s","time":"1970-01-01T00:00:00Z"}`, len(payload)-1, b64([]byte("}"))))
	sum := sha256.Sum256([]byte(protected + "." + b64(payload)))
	signature, err := rawSignature(key, sum[:])
	if err != nil {
		return nil, err
	}
	jwk, err := publicKey(key)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `%s,"signatures":[{"header":{"jwk":%s,"alg":"ES256"},"signature":"%s","protected":"%s"}]}`,
		payload[:len(payload)-1], jwk, b64(signature), protected), nil
}

// rawSignature is deterministic (RFC 6979), as no source of randomness is given.
func rawSignature(key *ecdsa.PrivateKey, sum []byte) ([]byte, error) {
	der, err := key.Sign(nil, sum, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return nil, err
	}
	raw := make([]byte, 64)
	pair.R.FillBytes(raw[:32])
	pair.S.FillBytes(raw[32:])
	return raw, nil
}

// publicKey is the key as a JSON web key, with an ID as Docker made them: the
// first 240 bits of the hash of the key, in groups of four letters.
func publicKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	var groups []string
	for group := range slices.Chunk([]byte(base32.StdEncoding.EncodeToString(sum[:30])), 4) {
		groups = append(groups, string(group))
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return json.Marshal(struct {
		Crv string `json:"crv"`
		Kid string `json:"kid"`
		Kty string `json:"kty"`
		X   string `json:"x"`
		Y   string `json:"y"`
	}{"P-256", strings.Join(groups, ":"), "EC", b64(point[1:33]), b64(point[33:])})
}
