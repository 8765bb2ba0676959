package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/path"
	"golang.org/x/sys/unix"
)

// networkEnv makes TestMain run a node in the network namespace that it was
// started in, and print the packets that want to leave the machine.
const networkEnv = "NODE_TEST_NETWORK_MODE"

// modes are the nodes that have to stay apart from the public network, and one
// that must not, without which silence would prove nothing.
func modes() map[string]Options {
	return map[string]Options{
		"offline":        {},
		"bootstrap none": {Online: true, Bootstrap: []string{NoBootstrap}},
		"own bootstrap":  {Online: true, Bootstrap: []string{deadPeer}, Provide: ProvidePinned},
		"private":        {Online: true, Private: true},
		"public":         {Online: true},
	}
}

// The node runs in a network namespace of its own with a default route to an
// interface on which every packet is recorded: whatever is sent to an address
// that is not this machine's passes there. One at a time, for it is measured
// whether the start waits for the network.
func TestNothingPublicIsContacted(t *testing.T) {
	for mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			sent := inNetworkNamespace(t, mode)
			if public := mode == "public"; public != (len(sent) > 0) {
				t.Errorf("sent %q", sent)
			}
		})
	}
}

func inNetworkNamespace(t *testing.T, mode string) (sent []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), networkEnv+"="+mode, "HTTP_PROXY=", "HTTPS_PROXY=", "http_proxy=", "https_proxy=")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || lines[len(lines)-1] != "done" {
		t.Fatalf("%v: %s", err, out)
	}
	return lines[:len(lines)-1]
}

func runInNetwork(mode string) error {
	if err := setUpNetwork(); err != nil {
		return err
	}
	stop, err := record("pub0")
	if err != nil {
		return err
	}
	queries := recordLocalDNS()
	o := modes()[mode]
	o.RepoPath = filepath.Join(".", "repo")
	if o.Private {
		if err := WriteSwarmKey(o.RepoPath); err != nil {
			return err
		}
	}
	if err := useNode(o); err != nil {
		return err
	}
	for _, line := range append(stop(), queries()...) {
		fmt.Fprintln(os.Stdout, line)
	}
	fmt.Fprintln(os.Stdout, "done")
	return nil
}

// useNode does what makes a node look for somebody.
func useNode(o Options) error {
	ctx := context.Background()
	start := time.Now()
	n, err := Open(ctx, o)
	if err != nil {
		return err
	}
	if took := time.Since(start); took > 2*time.Second {
		return fmt.Errorf("the start took %s: it waited for the network", took)
	}
	block := merkledag.NewRawNode([]byte("published"))
	if err := n.api.Dag().Add(ctx, block); err != nil {
		return err
	}
	if err := n.Publish(ctx, "image", block.Cid(), nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	var asking sync.WaitGroup
	asking.Go(func() { _, _ = n.api.Dag().Get(ctx, absent("that")) })
	asking.Go(func() { _, _ = n.api.Routing().FindProviders(ctx, path.FromCid(absent("this"))) })
	asking.Go(func() {
		_, _ = n.api.Name().Resolve(ctx, "/ipns/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")
	})
	asking.Wait()
	<-ctx.Done() // the window in which it is watched
	start = time.Now()
	if err := n.Close(); err != nil {
		return err
	}
	if took := time.Since(start); took > 5*time.Second {
		return fmt.Errorf("the stop took %s", took)
	}
	return nil
}

func setUpNetwork() error {
	for _, line := range []string{
		"link set lo up",
		"link add pub0 type veth peer name far0",
		"link set far0 up",
		"link set pub0 arp off",
		"addr add 10.77.0.2/24 dev pub0",
		"addr add fd77::2/64 dev pub0 nodad",
		"link set pub0 up",
		"route add default via 10.77.0.1 dev pub0",
		"-6 route add default via fd77::1 dev pub0",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

// record notes where the packets on an interface are going until stop.
func record(name string) (stop func() []string, err error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var sent []string
	var reading sync.WaitGroup
	reading.Go(func() {
		packet := make([]byte, 2048)
		for ctx.Err() == nil {
			if n, _, err := unix.Recvfrom(fd, packet, 0); err == nil {
				sent = appendNew(sent, destination(packet[:n]))
			}
		}
	})
	return func() []string { cancel(); reading.Wait(); return sent }, nil
}

// destination says where a packet goes; "" for those that the kernel sends of
// its own accord when an interface comes up: IGMP, and ICMPv6 to multicast.
func destination(p []byte) string {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4 && p[9] != unix.IPPROTO_IGMP:
		dst, _ := netip.AddrFromSlice(p[16:20])
		return fmt.Sprintf("protocol %d to %s", p[9], dst)
	case len(p) >= 40 && p[0]>>4 == 6:
		dst, _ := netip.AddrFromSlice(p[24:40])
		if dst.IsMulticast() && (p[6] == unix.IPPROTO_ICMPV6 || p[6] == unix.IPPROTO_HOPOPTS) {
			return ""
		}
		return fmt.Sprintf("protocol %d to %s", p[6], dst)
	}
	return ""
}

// recordLocalDNS stands in for a name server on loopback, if the machine uses
// one: what is asked there would leave the machine too.
func recordLocalDNS() (asked func() []string) {
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	var mu sync.Mutex
	var queries []string
	for line := range strings.Lines(string(resolv)) {
		f := strings.Fields(line)
		if len(f) != 2 || f[0] != "nameserver" || !net.ParseIP(f[1]).IsLoopback() {
			continue
		}
		server, err := net.ListenPacket("udp", net.JoinHostPort(f[1], "53"))
		if err != nil {
			continue
		}
		go func() {
			query := make([]byte, 512)
			for {
				n, _, err := server.ReadFrom(query)
				if err != nil {
					return
				}
				mu.Lock()
				queries = appendNew(queries, fmt.Sprintf("DNS query %q", query[:n]))
				mu.Unlock()
			}
		}()
	}
	return func() []string { mu.Lock(); defer mu.Unlock(); return queries }
}

func appendNew(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
