package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

// none is how a person says "no such thing", in a file or variable that
// otherwise cannot take a value back.
const none = "none"

// maxTimeout keeps "nothing waits without a bound" true.
const maxTimeout = 24 * time.Hour

func notEmpty(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	return nil
}

func oneOf(names ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(names, s) {
			return errors.New("it is none of them")
		}
		return nil
	}
}

func address(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		var bad *net.AddrError
		if errors.As(err, &bad) {
			return errors.New(bad.Err)
		}
		return err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("the port %q is no number from 0 to 65535", port)
	}
	return nil
}

func addressOrNone(s string) error {
	if s == none {
		return nil
	}
	return address(s)
}

func timeout(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return errors.New("it is no duration")
	case d < 0:
		return errors.New("it is negative")
	case d > maxTimeout:
		return errors.New("it is too long")
	}
	return nil
}

func multiaddr(s string) error {
	_, err := ma.NewMultiaddr(s)
	return err
}

func multiaddrOrNone(s string) error {
	if s == none {
		return nil
	}
	return multiaddr(s)
}

func peer(s string) error {
	m, err := ma.NewMultiaddr(s)
	if err != nil {
		return err
	}
	if _, err := m.ValueForProtocol(ma.P_P2P); err != nil {
		return errors.New("it has no /p2p/PEER-ID")
	}
	return nil
}

func bootstrap(s string) error {
	if s == none || s == "public" {
		return nil
	}
	return peer(s)
}

func gateway(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("it is no URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it is neither http:// nor https://")
	case u.Host == "":
		return errors.New("it names no host")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("it has a query or a fragment")
	}
	return nil
}

func resolver(s string) error {
	domain, server, ok := strings.Cut(s, "=")
	switch {
	case !ok:
		return errors.New("it has no equals sign")
	case !strings.HasSuffix(domain, "."):
		return errors.New("the domain has no period at its end")
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the server is no http:// or https:// URL")
	}
	return nil
}

// mirrored is the name of an image in a registry, written in full.
var mirrored = regexp.MustCompile(`^[a-zA-Z0-9.:\[\]-]+/[a-z0-9._/-]+:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func mapping(s string) error {
	name, ref, ok := strings.Cut(s, "=")
	switch {
	case !ok || ref == "":
		return errors.New("it has no equals sign with a reference behind it")
	case !mirrored.MatchString(name):
		return errors.New("the name is not written in full")
	}
	return nil
}

// credentials are what a URL can carry of them before its host. Not by
// url.Parse, since a URL too broken to parse is shown in an error.
var credentials = regexp.MustCompile(`^([a-z]+://)?.*@`)

func hideCredentials(s string) string {
	s = credentials.ReplaceAllString(s, "${1}hidden@")
	if before, _, ok := strings.Cut(s, "?"); ok {
		return before + "?hidden"
	}
	return s
}
