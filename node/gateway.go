package node

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	dialTimeout  = 10 * time.Second
	maxRedirects = 5
	// maxConns is how many connections HTTP/1.1 may have to a gateway.
	maxConns     = 32
	maxHeader    = 64 << 10 // bytes of an answer's head
	maxTokenFile = 64 << 10 // bytes
)

// gateways returns the HTTP gateways of o as sources, in the order given but for
// the one to ask first.
func gateways(o Options) ([]*supplier, error) {
	var all []*supplier
	if o.FirstGateway != "" {
		alone := o
		alone.GatewayTokenFile = "" // meant for the gateways of the settings
		g, err := newGateway(o.FirstGateway, alone)
		if err != nil {
			return nil, malformed("read the gateway "+hostOf(o.FirstGateway), err, "give a URL such as https://gateway.example/ipfs/<CID>")
		}
		g.order = first
		all = append(all, g)
	}
	for i, raw := range o.Gateways {
		g, err := newGateway(raw, o)
		if err != nil {
			return nil, malformed("read --gateway "+hostOf(raw), err, "give a URL such as https://gateway.example")
		}
		g.order = i
		all = append(all, g)
	}
	return all, nil
}

// newGateway reads the URL of a gateway, with or without /ipfs at its end.
func newGateway(raw string, o Options) (*supplier, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("it is no http:// or https:// URL of a host")
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII }):
		return nil, errors.New("its host is not ASCII: write it as DNS does, with xn--")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("it has a query or a fragment")
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/ipfs")
	g := &supplier{name: "gateway " + u.Host, label: u.Host, base: u.String(), client: gatewayClient(u), prober: gatewayClient(u)}
	if o.GatewayTokenFile != "" {
		if u.Scheme != "https" && !isLoopback(u.Hostname()) {
			return nil, errors.New("a token is not sent over plain http: use https, or drop the token")
		}
		g.authorize = bearer(o.GatewayTokenFile)
	}
	return g, nil
}

// hostOf is what of a URL may be shown.
func hostOf(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		return u.Host
	}
	return "(unreadable)"
}

// bearer returns what adds the token in a file to a request. The file is read
// each time, so that the token can be changed.
func bearer(file string) func(*http.Request) error {
	return func(r *http.Request) error {
		info, err := os.Stat(file)
		if err == nil && info.Size() > maxTokenFile {
			err = errors.New("it is too large")
		}
		if err != nil {
			return &image.Error{Op: "read gateway-token-file", Err: err}
		}
		token, err := os.ReadFile(file)
		if err != nil {
			return &image.Error{Op: "read gateway-token-file", Err: err}
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		return nil
	}
}

// gatewayClient returns a client for one gateway. A request has no time-out of
// its own: whoever makes it watches what comes.
func gatewayClient(u *url.URL) *http.Client {
	return &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         newGuardedDialer(u).dial,
			TLSHandshakeTimeout: dialTimeout,
			ForceAttemptHTTP2:   true,
			MaxConnsPerHost:     maxConns, MaxIdleConnsPerHost: maxConns, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // blocks don't shrink, and a bomb would grow
			ReadBufferSize:         64 << 10,
		},
	}
}

func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > maxRedirects {
		return fmt.Errorf("it redirected more than %d times", maxRedirects)
	}
	if r.URL.Scheme != "https" && (r.URL.Scheme != "http" || first.URL.Scheme == "https") {
		return fmt.Errorf("it redirected to a URL of the scheme %.10q", r.URL.Scheme)
	}
	if r.URL.Host == first.URL.Host {
		return nil
	}
	r.Header.Del("Authorization")
	r.Header.Del("Referer")
	// Where a proxy dials, the address can't be checked.
	if proxy, err := http.ProxyFromEnvironment(r); proxy != nil || err != nil {
		return errors.New("it redirected to another host, which is not followed through a proxy")
	}
	return nil
}
