package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

// guardedDialer dials for one gateway. Addresses of private networks are not
// dialed unless the gateway is in one itself: it must not have us ask what only
// we can reach, be it by a redirect or by where its name leads later on. It is
// safe for concurrent use.
type guardedDialer struct {
	gateway *url.URL
	dialer  net.Dialer
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)

	mu sync.Mutex
	// known are the addresses that the gateway's name had when it was looked up
	// first, and a public one at which it was dialed although it had none.
	known []netip.Addr
}

func newGuardedDialer(gateway *url.URL) *guardedDialer {
	return &guardedDialer{
		gateway: gateway, lookup: net.DefaultResolver.LookupNetIP,
		dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second},
	}
}

func (d *guardedDialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host == d.proxyHost() {
		return d.dialer.DialContext(ctx, network, addr)
	}
	own := addr == d.ownAddr()
	if err := d.know(ctx); err != nil && own {
		return nil, err
	}
	guarded := d.dialer
	guarded.Control = func(_, to string, _ syscall.RawConn) error { return d.admit(own, to) }
	return guarded.DialContext(ctx, network, addr)
}

// proxyHost is the host of the proxy by which the gateway is reached, if any.
func (d *guardedDialer) proxyHost() string {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: d.gateway})
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Hostname()
}

// know finds out where the gateway is, unless that is known.
func (d *guardedDialer) know(ctx context.Context) error {
	d.mu.Lock()
	known := len(d.known) > 0
	d.mu.Unlock()
	if known {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ips, err := d.lookup(ctx, "ip", d.gateway.Hostname())
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) == 0 {
		d.known = ips
	}
	return nil
}

// admit decides about the address to which the gateway's own host and port, or
// others, have led.
func (d *guardedDialer) admit(own bool, addr string) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ip := ap.Addr().Unmap().WithZone("")
	switch {
	case !privateIP(ip):
		if own && d.inside() {
			d.known = append(d.known, ip) // its name said one thing and means another
		}
		return nil
	case d.inside():
		return nil
	case own && slices.ContainsFunc(d.known, func(known netip.Addr) bool { return known.Unmap() == ip }):
		return nil // in a private network it is known by, next to a public address
	}
	return fmt.Errorf("%s is an address of a private network, and the gateway was in none when it was dialed first; start again if it has moved there", ip)
}

// inside reports whether the gateway is in a private network. It needs d.mu.
func (d *guardedDialer) inside() bool {
	for _, ip := range d.known {
		if !privateIP(ip) {
			return false
		}
	}
	return len(d.known) > 0
}

// ownAddr is what is dialed for the gateway itself.
func (d *guardedDialer) ownAddr() string {
	port := d.gateway.Port()
	switch {
	case port != "":
	case d.gateway.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(d.gateway.Hostname(), port)
}

func privateIP(ip netip.Addr) bool {
	ip = ip.Unmap()
	// Shared address space (RFC 6598) is private in all but name.
	carrierNAT := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)
	return !ip.IsGlobalUnicast() || ip.IsPrivate() || carrierNAT.Contains(ip)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
