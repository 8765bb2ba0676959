package node

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
)

// guardedDialer dials for one gateway. Other hosts, to which it redirected, are
// not dialed at addresses of private networks, unless the gateway is in one
// itself: it must not have us ask what only we can reach.
type guardedDialer struct {
	gateway *url.URL
	dialer  net.Dialer
}

func (d *guardedDialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host == d.gateway.Hostname() || host == d.proxyHost() || d.isPrivate(ctx) {
		return d.dialer.DialContext(ctx, network, addr)
	}
	guarded := d.dialer
	guarded.Control = refusePrivate
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

// isPrivate reports whether all addresses of the gateway are private.
func (d *guardedDialer) isPrivate(ctx context.Context) bool {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", d.gateway.Hostname())
	if err != nil {
		return false
	}
	for _, ip := range ips {
		if !privateIP(ip) {
			return false
		}
	}
	return len(ips) > 0
}

// refusePrivate is a net.Dialer's Control: it sees the address that a name
// led to.
func refusePrivate(_, addr string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	if privateIP(ap.Addr()) {
		return fmt.Errorf("it redirected to %s, an address of a private network", ap.Addr())
	}
	return nil
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
