package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/ipfs-registry/ipfs-registry/config"
)

// doors are where the daemon can be reached by TCP. They are open before the
// node is there: a client that comes early waits instead of being refused.
type doors struct {
	registry, admin, api []net.Listener
}

// openDoors takes the sockets that systemd handed over and listens where it
// handed over none.
func openDoors(ctx context.Context, s *config.Settings) (d *doors, err error) {
	d = &doors{}
	handed, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("take the sockets of systemd: %w", err)
	}
	d.registry, d.admin = handed["registry"], handed["admin"]
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	for name := range handed {
		if name != "registry" && name != "admin" {
			closeAll(handed[name])
			return d, fmt.Errorf("take the socket %q of systemd: no such name; set FileDescriptorName= to registry or admin", name)
		}
	}
	for _, door := range []struct {
		setting, address string
		listeners        *[]net.Listener
	}{{"listen", s.Listen, &d.registry}, {"admin", s.Admin, &d.admin}, {"api", s.API, &d.api}} {
		if len(*door.listeners) > 0 || door.address == "" {
			continue
		}
		if *door.listeners, err = listen(ctx, door.address); err != nil {
			return d, fmt.Errorf("listen on %s (setting %s, from the %s): %w; stop what listens there, or choose another address with --%s",
				door.address, door.setting, s.Origin(door.setting), err, door.setting)
		}
	}
	return d, nil
}

func (d *doors) close() { closeAll(slices.Concat(d.registry, d.admin, d.api)) }

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		_ = l.Close() // a listener that is closed already is as good
	}
}

// listen listens on HOST:PORT. Clients resolve localhost to either of its
// addresses, so it means both; a machine that lacks one has the other.
func listen(ctx context.Context, address string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host != "localhost" {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	var ls []net.Listener
	var lacking error
	for _, ip := range []string{"127.0.0.1", "::1"} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(ip, port))
		switch {
		case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
			lacking = err
			continue
		case err != nil:
			closeAll(ls)
			return nil, err
		}
		ls = append(ls, l)
		port = portOf(l) // for the second, when any port would do for the first
	}
	if len(ls) == 0 {
		return nil, lacking
	}
	return ls, nil
}

func portOf(l net.Listener) string {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return strconv.Itoa(a.Port)
	}
	return "0"
}

// addresses are the listeners' addresses for the log.
func addresses(ls []net.Listener) []string {
	var all []string
	for _, l := range ls {
		all = append(all, l.Addr().String())
	}
	return all
}

// warnReachable tells of listeners that other machines can reach, since none of
// them asks who is there.
func warnReachable(log *slog.Logger, setting string, ls []net.Listener) {
	for _, l := range ls {
		if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			log.Warn("other machines can reach this address, and nobody is asked for a password", "setting", setting, "address", a.String())
		}
	}
}
