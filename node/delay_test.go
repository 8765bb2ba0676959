package node

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// delayProxy passes TCP on to an address, each byte later by a delay each way.
type delayProxy struct {
	delay    time.Duration
	target   string
	listener net.Listener
	link     atomic.Pointer[link] // that it shares with others, nil if it has no limit
	received atomic.Int64         // bytes that came from the target

	mu    sync.Mutex
	conns []net.Conn
}

func newDelayProxy(t testing.TB, target string, delay time.Duration) *delayProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &delayProxy{delay: delay, target: target, listener: l}
	t.Cleanup(func() { _ = l.Close(); p.cut() })
	go p.run()
	return p
}

func (p *delayProxy) addr() string { return p.listener.Addr().String() }

func (p *delayProxy) run() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		go p.pass(out, in, nil)
		go p.pass(in, out, &p.received)
	}
}

// link is a link of limited speed.
type link struct {
	speed int64 // bytes a second
	mu    sync.Mutex
	free  time.Time
}

// pass returns when n bytes have passed.
func (l *link) pass(n int) {
	if l == nil {
		return
	}
	l.mu.Lock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(int64(n) * int64(time.Second) / l.speed))
	due := l.free
	l.mu.Unlock()
	<-time.After(time.Until(due))
}

type chunkDue struct {
	data []byte
	due  time.Time
}

func (p *delayProxy) pass(to, from net.Conn, count *atomic.Int64) {
	queue := make(chan chunkDue, 1<<14)
	go func() {
		for c := range queue {
			<-time.After(time.Until(c.due)) // the delay itself
			if _, err := to.Write(c.data); err != nil {
				_ = from.Close()
			}
		}
		_ = to.Close()
	}()
	defer close(queue)
	for {
		data := make([]byte, 64<<10)
		n, err := from.Read(data)
		if n > 0 {
			if count != nil {
				count.Add(int64(n))
				p.link.Load().pass(n)
			}
			queue <- chunkDue{data[:n], time.Now().Add(p.delay)}
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections, as the death of the target does.
func (p *delayProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// proxied puts a proxy in front of a node and returns the multiaddr that leads
// through it.
func proxied(t testing.TB, n *Node, delay time.Duration) (*delayProxy, string) {
	t.Helper()
	id, addrs, err := n.ID(t.Context())
	if err != nil || len(addrs) == 0 {
		t.Fatalf("addresses %v, error %v", addrs, err)
	}
	ma, err := multiaddr.NewMultiaddr(addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	transport, _ := multiaddr.SplitLast(ma)
	target, err := manet.ToNetAddr(transport)
	if err != nil {
		t.Fatal(err)
	}
	p := newDelayProxy(t, target.String(), delay)
	local, err := manet.FromNetAddr(p.listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return p, local.String() + "/p2p/" + id
}
