package publish_test

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ipfs-registry/ipfs-registry/image/imagetest"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// TestNerdctlFormIsTheOneThatNerdctlMakes has the CIDs that nerdctl 2.1.2 and
// Kubo 0.43.0 printed for these images: "nerdctl push --all-platforms
// ipfs://…", or with --platform. Their files are smaller than a chunk, so a CID
// is that of the bytes with any chunker.
func TestNerdctlFormIsTheOneThatNerdctlMakes(t *testing.T) {
	amd64 := []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}
	for _, test := range []struct {
		name      string
		build     func(imagetest.Blobs) ocispec.Descriptor
		platforms []ocispec.Platform
		want      string
		parts     int
	}{
		{"an index of Docker's", dockerIndex, nil, "bafkreietxdc5jap3lt2neuvlpx7enkkatb6gltg4tkjqmzauqsks6fn2xu", 4},
		{"an OCI image", func(b imagetest.Blobs) ocispec.Descriptor { _, desc, _ := multi(b); return desc }, nil, "bafkreifft6mr5jawwqnxh4pc7tcp2nrb5x7m3nb77ehml4wnjcnhsufgp4", 4},
		{"an OCI index", func(b imagetest.Blobs) ocispec.Descriptor { desc, _, _ := multi(b); return desc }, nil, "bafkreibslzbdc2i7rrflm7lkbcsc64be6xv2atfkkx3a2lwm3lptafb7pa", 8},
		{"an OCI index, one platform", func(b imagetest.Blobs) ocispec.Descriptor { desc, _, _ := multi(b); return desc }, amd64, "bafkreic6gl3ixvcpa6md6oh7cc56xdskd7n6t4zieyiq7w2m6bit4ioapm", 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := imagetest.Blobs{}
			root := test.build(b)
			result, s := push(t, "oci:"+layoutDir(t, layoutFiles(b, root)), publish.PushOptions{Format: "nerdctl", Chunker: publish.KuboLegacy, Platforms: test.platforms, Name: "pin"})
			if result.Root.String() != test.want {
				t.Errorf("%s; nerdctl makes %s", result.Root, test.want)
			}
			if pinned := s.pins["pin"]; len(pinned) != 1+test.parts {
				t.Errorf("%d CIDs published; want the root and its %d parts, which it names in words only", len(pinned), test.parts)
			}
			m, err := s.resolver().Describe(t.Context(), refTo(result))
			if err != nil || m.Descriptor.Digest != result.Descriptor.Digest || m.Size != result.Size {
				t.Errorf("%+v, %v; want what the push says, %+v", m, err, result)
			}
		})
	}
}
