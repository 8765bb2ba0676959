package main

import (
	"net"
	"strings"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/config"
)

func TestLocalhostIsBothAddresses(t *testing.T) {
	ls, err := listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(ls)
	want := 1
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		want = 2
		_ = l.Close()
	}
	if len(ls) != want {
		t.Fatalf("listens on %v, want %d addresses", addresses(ls), want)
	}
	for _, l := range ls {
		if portOf(l) != portOf(ls[0]) || portOf(l) == "0" {
			t.Errorf("listens on %v, want one port", addresses(ls))
		}
		if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
			t.Errorf("%v is no loopback address", l.Addr())
		}
	}
}

func TestAddressInUseNamesTheSetting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, host := range []string{"localhost", "127.0.0.1"} {
		address := net.JoinHostPort(host, portOf(taken))
		_, err = openDoors(t.Context(), &config.Settings{Listen: "localhost:0", Admin: address})
		if err == nil {
			t.Fatalf("%s: no error", address)
		}
		for _, want := range []string{address, "setting admin", "address already in use", "--admin"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
}

func TestRegistryHost(t *testing.T) {
	for listen, want := range map[string]string{
		"localhost:5050": "localhost:5050",
		":5050":          "localhost:5050",
		"0.0.0.0:1":      "localhost:1",
		"[::]:1":         "localhost:1",
		"[::1]:1":        "[::1]:1",
		"10.0.0.1:1":     "10.0.0.1:1",
	} {
		if got := registryHost(listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
