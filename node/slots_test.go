package node

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs-registry/ipfs-registry/image"
)

// What is read first is asked for first, however much is asked for.
func TestPartsBeginInTheirOrder(t *testing.T) {
	const parts, places = 8, 2
	st := memoryStore(t)
	root, data := shape{size: parts * partSize, chunk: 1 << 20, links: 174, raw: true}.build(t, offlineContent(st).dag)
	good, asked, gate := honest(t, st), make(chan int64, parts), make(chan struct{})
	n := behind(t, patience, serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sp, err := parseSpan(r); err == nil && sp.from > 0 {
			asked <- sp.from
			<-gate
		}
		good.ServeHTTP(w, r)
	})))
	f, err := n.Open(t.Context(), image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	limitStreams(t, n, places)
	var got bytes.Buffer
	read := make(chan error, 1)
	go func() {
		_, err := f.(image.LimitedWriterTo).WriteNTo(&got, f.Size())
		read <- err
	}()
	var first []int64
	for range places {
		first = append(first, <-asked/partSize)
	}
	close(gate)
	slices.Sort(first)
	if !slices.Equal(first, []int64{1, 2}) {
		t.Errorf("the parts %v were asked for first", first)
	}
	if err := <-read; err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("read %d bytes, %v", got.Len(), err)
	}
}

// However many Ranges are read at once, no more parts of them are under way than
// there is room for, and all of them come.
func TestRangesWaitForRoom(t *testing.T) {
	const ranges, places = maxRanged + 100, 4
	st, roots, all := gatedFiles(t, ranges<<20)
	good, gate := honest(t, st), make(chan struct{})
	var mu sync.Mutex
	var asked, most int
	count := func(more int) int {
		mu.Lock()
		defer mu.Unlock()
		asked += more
		most = max(most, asked)
		return asked
	}
	n := behind(t, patience, serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, roots[0].String()) || isProbe(r) {
			good.ServeHTTP(w, r)
			return
		}
		count(1) // a leaf
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		answer := httptest.NewRecorder()
		good.ServeHTTP(answer, r)
		count(-1) // before the client has the last byte, and asks for the next
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})))
	n.haunts.max = 0                                                             // nothing around them
	n.supply.sources()[0].client.Transport.(*http.Transport).MaxConnsPerHost = 0 // as with a peer
	path := image.Path{Root: roots[0]}
	readRange(t, n, path, 0, 10)
	limitStreams(t, n, places)
	var readers sync.WaitGroup
	for i := range int64(ranges - 1) {
		from := (i+1)<<20 + 5
		readers.Go(func() {
			if got := readRange(t, n, path, from, from+10); !bytes.Equal(got, all[0][from:from+10]) {
				t.Errorf("other bytes at %d", from)
			}
		})
	}
	eventually(t, "all wait and there is no room", func() bool {
		n.supply.mu.Lock()
		defer n.supply.mu.Unlock()
		return len(n.supply.flights) == ranges-1 && count(0) >= maxRanged
	})
	close(gate)
	readers.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most > maxRanged+places {
		t.Errorf("%d parts were under way at once; want %d", most, maxRanged+places)
	}
}

// limitStreams sets how many parts may be under way, when none is.
func limitStreams(t *testing.T, n *Node, limit int) {
	t.Helper()
	s := &n.supply.slots
	eventually(t, "there are always parts under way", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.limit, s.known = limit, true
		return s.taken == 0
	})
}

// A source that is near gets few parts at once, and one that is far many, also
// when both are asked one after the other.
func TestNearSourcesGetFewParts(t *testing.T) {
	s := slots{limit: firstStreams}
	var asked []chan struct{}
	under := func() (n int) {
		for _, place := range asked {
			select {
			case <-place:
				n++
			default:
			}
		}
		return n
	}
	s.measure(calibration, time.Millisecond, true)
	for range firstStreams {
		asked = append(asked, s.queue())
	}
	if got := under(); got != nearStreams {
		t.Errorf("%d parts of a source that is near are under way, want %d", got, nearStreams)
	}
	s.measure(calibration, time.Millisecond, false)
	s.give(quick)
	if got := under(); got != firstStreams {
		t.Errorf("%d parts of a source that is far are under way, want %d", got, firstStreams)
	}
}

// Who waits for a Range gets it before what another reads ahead, however much
// of that waits for its turn.
func TestARangeComesBeforeTheBulk(t *testing.T) {
	const parts, wanted = 8, 6
	st := memoryStore(t)
	root, data := shape{size: parts * partSize, chunk: 1 << 20, links: 174, raw: true}.build(t, offlineContent(st).dag)
	good, gate := honest(t, st), make(chan struct{})
	var mu sync.Mutex
	var asked []int64 // the parts after the first
	n := behind(t, patience, serveGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sp, err := parseSpan(r); err == nil && sp.from >= partSize {
			mu.Lock()
			asked = append(asked, sp.from/partSize)
			mu.Unlock()
			if sp.from/partSize == 1 {
				<-gate
			}
		}
		good.ServeHTTP(w, r)
	})))
	has := func(part int64) bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(asked, part)
	}
	f, err := n.Open(t.Context(), image.Path{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	limitStreams(t, n, 1)
	var got bytes.Buffer
	read := make(chan error, 1)
	go func() {
		_, err := f.(image.LimitedWriterTo).WriteNTo(&got, f.Size())
		read <- err
	}()
	eventually(t, "the only place is taken", func() bool { return has(1) })
	from := int64(wanted*partSize + 5)
	part := readRange(t, n, image.Path{Root: root}, from, from+9)
	waiting := !has(2) && !has(5)
	close(gate)
	if !bytes.Equal(part, data[from:from+9]) || !waiting {
		t.Errorf("the Range is %q, and what was to come before it waited: %v", part, waiting)
	}
	if err := <-read; err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("read %d bytes, %v", got.Len(), err)
	}
}
