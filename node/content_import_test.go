package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// lcg is an endless stream of bytes, the same each time.
type lcg struct{ state uint32 }

func (g *lcg) Read(p []byte) (int, error) {
	for i := range p {
		g.state = g.state*1664525 + 1013904223
		p[i] = byte(g.state >> 24)
	}
	return len(p), nil
}

func stream(n int64) io.Reader { return io.LimitReader(&lcg{1}, n) }

// forgetfulStore keeps nothing, however much is put there.
func forgetfulStore() *store {
	return &store{Blockstore: blockstore.NewBlockstore(datastore.NewNullDatastore(), blockstore.WriteThrough(true))}
}

// The CIDs are those that Kubo v0.43.0 prints for the first n bytes of lcg,
//
//	ipfs init && ipfs add -Q --cid-version=1 --chunker=size-262144 --raw-leaves
//	ipfs init --profile=unixfs-v1-2025 && ipfs add -Q
func TestAddFileGivesTheCIDsOfKubo(t *testing.T) {
	for _, test := range []struct {
		chunker publish.Chunker
		size    int64
		want    string
	}{
		{publish.KuboLegacy, 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
		{publish.KuboLegacy, 1, "bafkreig2xu5p65u7a7vsszkad2yctf2oxorua6x5akzg3w2wj2s7r35ooi"},
		{publish.KuboLegacy, 262144, "bafkreidd6k2rtu2k6woh25xxx2nxk2d2ifjrn54h6wjqfbqijyvdl2nrmq"},
		{publish.KuboLegacy, 262145, "bafybeidmf7miq54symki3qff7ohjgfhn23ysap4nt7fcolcjetgkyvqoaa"},
		{publish.KuboLegacy, 1048576, "bafybeibgfq23ganrtwn5iijkylfi5tku2udvoqlh5bdmihzopks32l2fgq"},
		{publish.KuboLegacy, 1048577, "bafybeiedj5etoh2kj552ra6w2utyuvge7jmzfsmc3454lmaqvdhvilz544"},
		{publish.KuboLegacy, 3000000, "bafybeiffhsvuyjruxbfmucjh34wsauscyvuulwjti4feumdccvjgljk76y"},
		{publish.KuboLegacy, 174 * 262144, "bafybeid3u6ywprs7daea5cngbzwx3dxtb5ov464joy4p4ctguxa4dtm4ue"},
		{publish.KuboLegacy, 174*262144 + 1, "bafybeiak6ul52u63lryr7aaih6sa7n6wbxwdhwgwngisfkspjlt2orzvk4"},
		{publish.UnixFSv1, 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
		{publish.UnixFSv1, 1, "bafkreig2xu5p65u7a7vsszkad2yctf2oxorua6x5akzg3w2wj2s7r35ooi"},
		{publish.UnixFSv1, 262144, "bafkreidd6k2rtu2k6woh25xxx2nxk2d2ifjrn54h6wjqfbqijyvdl2nrmq"},
		{publish.UnixFSv1, 262145, "bafkreiaft6zdxu6zgk4a2ltdoi6rr7hoe5eoipveab5bj6w3qazg3v6uky"},
		{publish.UnixFSv1, 1048576, "bafkreiep7x36nt66cvnlcghb64cdlw467uhjm5c6m5efjck63ult7rmrzi"},
		{publish.UnixFSv1, 1048577, "bafybeihtedftjxy6bkqn6rdcfaov6mbrtqtta46qt6cfk42rr7ktkai4qm"},
		{publish.UnixFSv1, 3000000, "bafybeigqqfhjsrvw6mfesh7bzfomwvlariwsdhk2w54gbno53knbfcpewu"},
		{publish.UnixFSv1, 1024<<20 + 1, "bafybeidocs3qszf5wlbzihfgdpilqu6foeyprived37adsqiu35jd4ggom"},
	} {
		t.Run(fmt.Sprintf("%s/%d", test.chunker, test.size), func(t *testing.T) {
			st := memoryStore(t)
			if test.size > 100<<20 {
				st = forgetfulStore()
			}
			got, err := offlineContent(st).AddFile(t.Context(), stream(test.size), test.chunker)
			if err != nil || got.String() != test.want {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

// The CIDs are those that Kubo v0.43.0 prints with the commands above and -r
// for directories of such files.
func TestAddDirGivesTheCIDsOfKubo(t *testing.T) {
	layout := map[string]int64{"oci-layout": 1, "index.json": 0, "blobs/sha256/aa": 300000, "blobs/sha256/bb": 3000000}
	for _, test := range []struct {
		name       string
		files      map[string]int64
		entries    int // entry-00000, … which hold their number
		legacy, v1 string
	}{
		{name: "empty", legacy: "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354", v1: "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"},
		{name: "nested", files: layout, legacy: "bafybeifa2rbnkrtwordvhp7xgx253r766jkntv6ij6g4yuc5ivx75avzwe", v1: "bafybeifa3i7pro6qfizg32wtuvl4zzpgxbrfnszvo6imjusu3odwcdrlam"},
		{name: "plain for both", entries: 4400, legacy: "bafybeiautc6p6lxam67f4dqaelzlhl63bs7tx66jtsf5v55f7ps6rl6lcu", v1: "bafybeiautc6p6lxam67f4dqaelzlhl63bs7tx66jtsf5v55f7ps6rl6lcu"},
		{name: "sharded for one", entries: 5000, legacy: "bafybeibvkaalyuhypbzxj26ph2wlqgccgnysnyix5kwtqncjtron4xyvne", v1: "bafybeiffclqivag2qu73t5ldcyvjmjfmxt3hknzw463nrtuzx4kamky7rm"},
		{name: "sharded for both", entries: 10000, legacy: "bafybeiesyiwpzl4jbcec7pxadkyc2ijlokg2e6fvp5ctjzsey3ttgqet6e", v1: "bafybeiesyiwpzl4jbcec7pxadkyc2ijlokg2e6fvp5ctjzsey3ttgqet6e"},
	} {
		for chunker, want := range map[publish.Chunker]string{publish.KuboLegacy: test.legacy, publish.UnixFSv1: test.v1} {
			t.Run(test.name+"/"+string(chunker), func(t *testing.T) {
				c := offlineContent(memoryStore(t))
				entries := map[string]cid.Cid{}
				for name, size := range test.files {
					entries[name] = addStream(t, c, stream(size), chunker)
				}
				for i := range test.entries {
					entries[fmt.Sprintf("entry-%05d", i)] = addStream(t, c, strings.NewReader(fmt.Sprintf("%05d", i)), chunker)
				}
				got, err := c.AddDir(t.Context(), entries, chunker)
				if err != nil || got.String() != want {
					t.Fatalf("got %s, %v; want %s", got, err, want)
				}
				for name, file := range entries {
					f := openFile(t, c, image.Path{Root: got, Rest: name})
					if f.CID() != file {
						t.Errorf("%s leads to %s, want %s", name, f.CID(), file)
					}
					if len(entries) > 10 {
						break
					}
				}
			})
		}
	}
}

func addStream(t *testing.T, c *content, r io.Reader, chunker publish.Chunker) cid.Cid {
	t.Helper()
	added, err := c.AddFile(t.Context(), r, chunker)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestAddDirRefusesHostileNames(t *testing.T) {
	c := offlineContent(memoryStore(t))
	file := add(t, c, merkledag.NewRawNode([]byte("x")))
	for _, names := range [][]string{
		{""}, {"."}, {".."}, {"a/../b"}, {"/a"}, {"a/"}, {"a//b"}, {"a\x00b"}, {strings.Repeat("x", 256)},
		{strings.Repeat("x/", 64) + "x"}, {"a", "a/b"}, {"a/b", "a/b/c", "a"},
	} {
		entries := map[string]cid.Cid{}
		for _, name := range names {
			entries[name] = file
		}
		if got, err := c.AddDir(t.Context(), entries, publish.UnixFSv1); image.ClassOf(err) != image.Malformed {
			t.Errorf("%q gave %s, %v", names, got, err)
		}
	}
	if _, err := c.AddDir(t.Context(), map[string]cid.Cid{"a": {}}, publish.UnixFSv1); image.ClassOf(err) != image.Malformed {
		t.Errorf("an entry without a CID gave %v", err)
	}
	absent := cid.NewCidV1(cid.Raw, testHash(t, []byte("absent")))
	if _, err := c.AddDir(t.Context(), map[string]cid.Cid{"a": absent}, publish.UnixFSv1); image.ClassOf(err) != image.Unavailable {
		t.Errorf("an entry that is not there gave %v", err)
	}
}

func TestRefusesAnUnknownChunker(t *testing.T) {
	c := offlineContent(memoryStore(t))
	if _, err := c.AddFile(t.Context(), stream(1), "rabin"); image.ClassOf(err) != image.Malformed {
		t.Errorf("AddFile gave %v", err)
	}
	if _, err := c.AddDir(t.Context(), nil, "rabin"); image.ClassOf(err) != image.Malformed {
		t.Errorf("AddDir gave %v", err)
	}
}

// failingReader gives n bytes and then err, with the last bytes or after them.
type failingReader struct {
	io.Reader
	err error
}

func (r failingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = r.err
	}
	return n, err
}

func TestAddFileFailsWithItsReader(t *testing.T) {
	c := offlineContent(memoryStore(t))
	for _, failure := range []error{errors.New("disk on fire"), io.ErrUnexpectedEOF, os.ErrDeadlineExceeded} {
		for _, size := range []int64{0, 1, 1 << 20, 3_000_000} {
			got, err := c.AddFile(t.Context(), failingReader{stream(size), failure}, publish.UnixFSv1)
			if !errors.Is(err, failure) || got.Defined() {
				t.Errorf("%v after %d bytes: got %s, %v", failure, size, got, err)
			}
		}
	}
}

func TestAddFileStopsWithItsContext(t *testing.T) {
	c := offlineContent(forgetfulStore())
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(make([]byte, 2<<20))
		cancel()
		_, _ = io.Copy(w, &lcg{1})
	}()
	defer r.Close()
	if got, err := c.AddFile(ctx, r, publish.UnixFSv1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %s, %v", got, err)
	}
}

// heapProbe notes how large the heap is while it is read.
type heapProbe struct {
	io.Reader
	read, peak uint64
}

func (p *heapProbe) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if before := p.read; before>>24 != (before+uint64(n))>>24 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.peak = max(p.peak, m.HeapAlloc)
	}
	p.read += uint64(n)
	return n, err
}

func TestAddFileHoldsLittle(t *testing.T) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	probe := &heapProbe{Reader: stream(512 << 20)}
	if _, err := offlineContent(forgetfulStore()).AddFile(t.Context(), probe, publish.UnixFSv1); err != nil {
		t.Fatal(err)
	}
	if grown := int64(probe.peak) - int64(m.HeapAlloc); grown > 100<<20 {
		t.Errorf("the heap grew by %d MiB for a file of 512 MiB", grown>>20)
	}
}

func TestAddingTwiceIsHarmless(t *testing.T) {
	c := offlineContent(flatfsStore(t))
	data := noise(3 << 20)
	first := addStream(t, c, bytes.NewReader(data), publish.UnixFSv1)
	if second := addStream(t, c, bytes.NewReader(data), publish.UnixFSv1); second != first {
		t.Errorf("got %s and then %s", first, second)
	}
	if got, err := io.ReadAll(openFile(t, c, image.Path{Root: first})); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
