package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startLimit is how long an engine may take to be ready on a busy machine.
const startLimit = 60 * time.Second

// containerd is containerd 2 with runc, and with stargz-snapshotter as a second
// snapshotter.
type containerd struct {
	dir, address string
	// ipfsRepo is where stargz-snapshotter looks for the address of the IPFS RPC.
	ipfsRepo       string
	daemon, stargz *process
}

func containerdEngine(t testing.TB) *containerd {
	t.Helper()
	return shared.containerd.get(t, "start containerd", func() (*containerd, error) {
		c, err := launchContainerd(filepath.Join(shared.dir, "c"))
		if c != nil {
			shared.onClose(c.stop)
		}
		return c, err
	})
}

// withoutCRI is for a containerd that no kubelet talks to.
const withoutCRI = `disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
`

const containerdConfig = `version = 3
root = "%[1]s/root"
state = "%[1]s/state"
%[2]s[grpc]
  address = "%[1]s/containerd.sock"
[plugins."io.containerd.metadata.v1.bolt"]
  content_sharing_policy = "isolated"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
[proxy_plugins.stargz]
  type = "snapshot"
  address = "%[1]s/stargz.sock"
  [proxy_plugins.stargz.exports]
    root = "%[1]s/stargz"
    enable_remote_snapshot_annotations = "true"
`

// launchContainerd starts the two in a directory. What it returns has to be
// stopped, with an error as well.
func launchContainerd(dir string) (*containerd, error) {
	return launchContainerdWith(dir, withoutCRI, "")
}

// launchContainerdWith does so with more in the configuration: at its top, and
// tables.
func launchContainerdWith(dir, top, tables string) (*containerd, error) {
	c := &containerd{dir: dir, ipfsRepo: filepath.Join(dir, "ipfs")}
	c.address = filepath.Join(c.dir, "containerd.sock")
	if err := os.MkdirAll(c.ipfsRepo, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(c.dir, "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, containerdConfig+tables, c.dir, top), 0o600); err != nil {
		return nil, err
	}
	socket := filepath.Join(c.dir, "stargz.sock")
	var err error
	c.stargz, err = launch("stargz-snapshotter", command(context.Background(), tool("stargz"),
		"-root", filepath.Join(c.dir, "stargz"), "-address", socket, "-ipfs", c.ipfsRepo))
	if err != nil {
		return nil, err
	}
	if err := c.stargz.ready(startLimit, func() error { _, err := os.Stat(socket); return err }); err != nil {
		return c, err
	}
	c.daemon, err = launch("containerd", command(context.Background(), tool("containerd"), "--config", config, "--log-level", "info"))
	if err != nil {
		return c, err
	}
	return c, c.reachesStargz()
}

// reachesStargz waits until containerd has had an answer of the snapshotter: it
// gives it a second at first, which under load may be too short, and keeps the
// connection then. Only a snapshot that is made will do, as containerd knows
// itself which there are.
func (c *containerd) reachesStargz() error {
	snapshots := func(do, key string) error {
		return succeeds(tool("ctr"), "--address", c.address, "snapshots", "--snapshotter=stargz", do, key)()
	}
	return c.daemon.ready(startLimit, func() error {
		key := rand.Text()
		if err := snapshots("prepare", key); err != nil {
			return err
		}
		return snapshots("rm", key)
	})
}

func (c *containerd) stop() {
	for _, p := range []*process{c.daemon, c.stargz} {
		if p != nil {
			p.stop()
		}
	}
}

// ctr is containerd's own client, in a namespace of the test's.
func (c *containerd) ctr(t testing.TB, namespace string, args ...string) *exec.Cmd {
	return command(t.Context(), tool("ctr"), append([]string{"--address", c.address, "--namespace", namespace}, args...)...)
}

func (c *containerd) nerdctl(t testing.TB, namespace string, args ...string) *exec.Cmd {
	return c.nerdctlWithin(t.Context(), namespace, args...)
}

// nerdctlWithin is nerdctl with a context of its own, as what cleans up needs.
func (c *containerd) nerdctlWithin(ctx context.Context, namespace string, args ...string) *exec.Cmd {
	return command(ctx, tool("nerdctl"), append([]string{
		"--address", c.address, "--namespace", namespace, "--data-root", filepath.Join(c.dir, "nerdctl"),
		"--cgroup-manager", "cgroupfs", "--hosts-dir", filepath.Join(c.dir, "hosts"), "--insecure-registry",
	}, args...)...)
}

// docker is the Docker engine. It has no network of its own: containers and
// builds use the host's.
type docker struct{ host string }

func dockerEngine(t testing.TB) *docker {
	t.Helper()
	return shared.docker.get(t, "start dockerd", startDocker)
}

func startDocker() (*docker, error) {
	cmd, d, err := dockerCommand(filepath.Join(shared.dir, "d"))
	if err != nil {
		return nil, err
	}
	p, err := startShared("dockerd", cmd)
	if err != nil {
		return nil, err
	}
	return d, d.ready(p)
}

// dockerCommand is an engine with all that it has in a directory.
func dockerCommand(dir string, flags ...string) (*exec.Cmd, *docker, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	d := &docker{host: "unix://" + dir + "/docker.sock"}
	cmd := command(context.Background(), "/usr/sbin/dockerd", append([]string{"--config-file", dir + "/none.json",
		"--data-root", dir + "/data", "--exec-root", dir + "/exec", "--pidfile", dir + "/pid", "--host", d.host,
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--storage-driver", "overlay2"}, flags...)...)
	// It starts a containerd itself, and wants the one that Debian has for it.
	cmd.Env = append(cmd.Env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	return cmd, d, os.WriteFile(dir+"/none.json", []byte("{}"), 0o600)
}

func (d *docker) ready(p *process) error {
	return p.ready(startLimit, succeeds("/usr/bin/docker", "--host", d.host, "version"))
}

func (d *docker) cmd(t testing.TB, args ...string) *exec.Cmd {
	return command(t.Context(), "/usr/bin/docker", append([]string{"--host", d.host}, args...)...)
}

// buildkit is buildkitd with runc below it.
type buildkit struct{ address string }

func buildkitEngine(t testing.TB) *buildkit {
	t.Helper()
	return shared.buildkit.get(t, "start buildkitd", startBuildkit)
}

func startBuildkit() (*buildkit, error) {
	cmd, b, err := buildkitCommand(filepath.Join(shared.dir, "b"), "")
	if err != nil {
		return nil, err
	}
	p, err := startShared("buildkitd", cmd)
	if err != nil {
		return nil, err
	}
	return b, b.ready(p)
}

// buildkitCommand is a buildkitd with all that it has in a directory.
func buildkitCommand(dir, config string) (*exec.Cmd, *buildkit, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	b := &buildkit{"unix://" + dir + "/buildkitd.sock"}
	return command(context.Background(), tool("buildkitd"), "--config", dir+"/buildkitd.toml",
			"--addr", b.address, "--root", dir+"/root", "--containerd-worker=false", "--oci-worker-net=host", "--oci-worker-binary=runc"),
		b, os.WriteFile(dir+"/buildkitd.toml", []byte(config), 0o600)
}

func (b *buildkit) ready(p *process) error {
	return p.ready(startLimit, succeeds(tool("buildctl"), "--addr", b.address, "debug", "workers"))
}

// source is a registry as anybody has one, with the images in it.
type source struct{ host, dir string }

func sourceRegistry(t testing.TB) *source {
	t.Helper()
	return shared.source.get(t, "start the source registry", startSource)
}

const distributionConfig = `version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: %s
http:
  addr: localhost:%s
`

func startSource() (*source, error) {
	dir, err := os.MkdirTemp(shared.dir, "source-")
	if err != nil {
		return nil, err
	}
	p, s, err := launchDistribution(dir)
	if err != nil {
		return nil, err
	}
	shared.onClose(p.stop)
	return s, p.ready(startLimit, httpOK("http://"+s.host+"/v2/"))
}

func launchDistribution(dir string) (*process, *source, error) {
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, distributionConfig, dir, port), 0o600); err != nil {
		return nil, nil, err
	}
	cmd := command(context.Background(), tool("registry"), "serve", config)
	cmd.Env = append(cmd.Env, "OTEL_TRACES_EXPORTER=none")
	p, err := launch("distribution", cmd)
	return p, &source{"localhost:" + port, dir}, err
}

// copyIn puts an image into the registry, all platforms, and returns its
// reference.
func (s *source) copyIn(t testing.TB, l layout, name string) string {
	t.Helper()
	ref := s.host + "/" + name
	must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--all", "--quiet", "--dest-tls-verify=false", l.spec(), "docker://"+ref))
	return ref
}

// tempDir is a directory with a name short enough for sockets, that mounts and
// files of root in it do not keep from being removed.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "t-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
