package node

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// exported is a CAR of a file of several levels.
func exported(t testing.TB) (root cid.Cid, data, file []byte) {
	t.Helper()
	from := startNode(t, Options{RepoPath: t.TempDir()})
	root, data = shape{size: 100_001, chunk: 1000, links: 5, raw: true}.build(t, from.dag)
	var out bytes.Buffer
	moved, err := from.Export(t.Context(), &out, []cid.Cid{root}, []pin.Part{{CID: root, Mode: pin.Recursive}, {CID: root, Mode: pin.Direct}})
	if err != nil || moved.Blocks < 101 || moved.Bytes < int64(len(data)) {
		t.Fatalf("%+v, %v", moved, err)
	}
	return root, data, out.Bytes()
}

// What was exported is imported elsewhere, by way of either version of CAR.
func TestExportAndImport(t *testing.T) {
	root, data, v1 := exported(t)
	var v2 bytes.Buffer
	if err := car.WrapV1(bytes.NewReader(v1), &v2); err != nil {
		t.Fatal(err)
	}
	for version, file := range map[string][]byte{"1": v1, "2": v2.Bytes()} {
		t.Run(version, func(t *testing.T) {
			to := startNode(t, Options{RepoPath: t.TempDir()})
			moved, err := to.Import(t.Context(), bytes.NewReader(file))
			if err != nil || len(moved.Roots) != 1 || moved.Roots[0] != root {
				t.Fatalf("%+v, %v", moved, err)
			}
			if got, err := io.ReadAll(openFile(t, to.content, image.Path{Root: root})); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// Each byte of a CAR counts: a changed one, or one that is missing, is an error.
func TestImportRefusesADamagedCAR(t *testing.T) {
	_, _, file := exported(t)
	to := startNode(t, Options{RepoPath: t.TempDir()})
	for _, at := range []int{0, 1, 20, 70, len(file) / 2, len(file) - 1} {
		bad := bytes.Clone(file)
		bad[at] ^= 0x55
		if _, err := to.Import(t.Context(), bytes.NewReader(bad)); image.ClassOf(err) != image.Corrupt && image.ClassOf(err) != image.Malformed {
			t.Errorf("byte %d changed: %v", at, err)
		}
		if _, err := to.Import(t.Context(), bytes.NewReader(file[:len(file)-1-at/2])); image.ClassOf(err) != image.Corrupt {
			t.Errorf("cut: %v", err)
		}
	}
}

// Whatever a CAR says, it costs no more than its bounds and stores no block
// that is not its CID's.
func FuzzCAR(f *testing.F) {
	_, _, file := exported(f)
	f.Add(file[:3000])
	f.Add([]byte{})
	f.Add(binary.AppendUvarint(nil, 1<<40))
	var v2 bytes.Buffer
	if err := car.WrapV1(bytes.NewReader(file), &v2); err != nil {
		f.Fatal(err)
	}
	f.Add(v2.Bytes()[:2000])
	huge := bytes.Clone(v2.Bytes()[:200])
	binary.LittleEndian.PutUint64(huge[27:], 1<<62)
	f.Add(huge)
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := openCAR(bytes.NewReader(data))
		for err == nil {
			nd, failed := nextOfCAR(in)
			if err = failed; err == nil && compareBytes(nd.Cid(), nd.RawData()) != nil {
				t.Fatalf("%s has other bytes", nd.Cid())
			}
		}
	})
}
