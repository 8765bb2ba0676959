package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

const aPeer = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"

// load parses args as the verb's and loads with a file of the given text.
func load(t *testing.T, file string, environ []string, args ...string) (*Settings, error) {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Define(flags, "config")
	DefineGlobal(flags)
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(flags, append(environ, "HOME=/home/u"))
}

func mustLoad(t *testing.T, file string, environ []string, args ...string) *Settings {
	t.Helper()
	s, err := load(t, file, environ, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDefaults(t *testing.T) {
	s := mustLoad(t, "", nil)
	if s.Repo != "/home/u/.ipfs-registry" || s.Listen != "localhost:5050" || s.Admin != "localhost:5051" {
		t.Errorf("repo %q, listen %q, admin %q", s.Repo, s.Listen, s.Admin)
	}
	if s.API != "" || s.IPFSAddress != "" || s.Bootstrap != nil || s.Peers != nil || s.SwarmListen != nil {
		t.Errorf("api %q, ipfs-address %q, bootstrap %q, peer %q, swarm-listen %q; want all empty",
			s.API, s.IPFSAddress, s.Bootstrap, s.Peers, s.SwarmListen)
	}
	if s.FetchTimeout != defaultTimeout || s.Provide != "published" || s.MDNS || s.Offline || s.Private {
		t.Errorf("fetch-timeout %v, provide %q, mdns %v, offline %v, private %v", s.FetchTimeout, s.Provide, s.MDNS, s.Offline, s.Private)
	}
	if got := s.Origin("listen"); got != "default" {
		t.Errorf("origin %q", got)
	}
}

func TestOrder(t *testing.T) {
	const file = "listen: file:1"
	env := []string{"IPFS_REGISTRY_LISTEN=env:1"}
	theirs := []string{"IPFS_REGISTRY_SERVE_LISTEN_REGISTRY=nerdctl:1"}
	for _, c := range []struct {
		name, file string
		env, args  []string
		want, from string
	}{
		{"file over default", file, nil, nil, "file:1", "file "},
		{"environment over file", file, env, nil, "env:1", "variable IPFS_REGISTRY_LISTEN"},
		{"flag over environment", file, env, []string{"--listen=flag:1"}, "flag:1", "flag --listen"},
		{"nerdctl's variable over file", file, theirs, nil, "nerdctl:1", "variable IPFS_REGISTRY_SERVE_LISTEN_REGISTRY"},
		{"our variable over nerdctl's", file, append(theirs, env...), nil, "env:1", "variable IPFS_REGISTRY_LISTEN"},
		{"our variable over nerdctl's, told first", file, append(env, theirs...), nil, "env:1", "variable IPFS_REGISTRY_LISTEN"},
		{"nerdctl's flag", file, env, []string{"--listen-registry", "nerdctl:2"}, "nerdctl:2", "flag --listen"},
		{"an empty variable is none", file, []string{"IPFS_REGISTRY_LISTEN="}, nil, "file:1", "file "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mustLoad(t, c.file, c.env, c.args...)
			if s.Listen != c.want || !strings.HasPrefix(s.Origin("listen"), c.from) {
				t.Errorf("got %q from %q, want %q from %q", s.Listen, s.Origin("listen"), c.want, c.from)
			}
		})
	}
}

func TestRepository(t *testing.T) {
	own, kubo := "IPFS_REGISTRY_REPO=/own", "IPFS_PATH=/kubo"
	for _, c := range []struct {
		name, want string
		env, args  []string
	}{
		{"default", "/home/u/.ipfs-registry", nil, nil},
		{"Kubo's variable", "/kubo", []string{kubo}, nil},
		{"our variable", "/own", []string{own, kubo}, nil},
		{"flag", "/flag", []string{own, kubo}, []string{"--repo", "/flag"}},
		{"home in a variable", "/home/u/x", []string{"IPFS_REGISTRY_REPO=~/x"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if s := mustLoad(t, "", c.env, c.args...); s.Repo != c.want {
				t.Errorf("got %q, want %q", s.Repo, c.want)
			}
		})
	}
}

func TestValues(t *testing.T) {
	file := "peer:\n  - " + aPeer + "\nbootstrap: none\nnode:\n  provide: pinned\n  mdns: true\noffline:\nprivate: true\n"
	s := mustLoad(t, file, []string{"IPFS_REGISTRY_GATEWAY=https://a.example, http://b.example:8080,"},
		"--read-timeout=0", "--read-retry-num=3", "--swarm-listen=/ip4/0.0.0.0/tcp/1", "--swarm-listen=/ip4/0.0.0.0/tcp/2")
	if !slices.Equal(s.Peers, []string{aPeer}) || !slices.Equal(s.Bootstrap, []string{"none"}) {
		t.Errorf("peer %q, bootstrap %q", s.Peers, s.Bootstrap)
	}
	if !slices.Equal(s.Gateways, []string{"https://a.example", "http://b.example:8080"}) {
		t.Errorf("gateway %q", s.Gateways)
	}
	if !slices.Equal(s.SwarmListen, []string{"/ip4/0.0.0.0/tcp/1", "/ip4/0.0.0.0/tcp/2"}) {
		t.Errorf("swarm-listen %q", s.SwarmListen)
	}
	if s.Provide != "pinned" || !s.Private || s.Offline || s.FetchTimeout != defaultTimeout || s.ReadRetryNum != 3 {
		t.Errorf("%+v", s)
	}
}

func TestPublicAndNoneUndoTheFile(t *testing.T) {
	s := mustLoad(t, "bootstrap: none\nadmin: localhost:1\napi: localhost:2\n",
		[]string{"IPFS_REGISTRY_BOOTSTRAP=public", "IPFS_REGISTRY_ADMIN=none"}, "--api=none")
	if s.Bootstrap != nil || s.Admin != "" || s.API != "" {
		t.Errorf("bootstrap %q, admin %q, api %q", s.Bootstrap, s.Admin, s.API)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env, args  []string
		want       []string
	}{
		{"unknown key", "fetch-timout: 3s", nil, nil, []string{"config.yaml", `"fetch-timout"`, "did you mean fetch-timeout?"}},
		{"unknown nested key", "node: {provides: all}", nil, nil, []string{`"node.provides"`, "node.provide?"}},
		{"unlike any key", "xyzzyplugh: 1", nil, nil, []string{`"xyzzyplugh"`, "docs/configuration.md"}},
		{"mapping for a value", "listen: {host: a}", nil, nil, []string{`"listen.host"`}},
		{"no mapping", "- a", nil, nil, []string{"no YAML mapping"}},
		{"key twice", "listen: a:1\nlisten: b:1", nil, nil, []string{"already defined"}},
		{"config in the file", "config: x", nil, nil, []string{"cannot set config", "--config"}},
		{"list for one value", "listen: [a:1, b:1]", nil, nil, []string{"listen", "file ", `"a:1", "b:1"`, "only one"}},
		{"list of lists", "peer: [[a]]", nil, nil, []string{"peer", "list of something other"}},
		{"variable unknown", "", []string{"IPFS_REGISTRY_LISTN=a:1"}, nil, []string{"IPFS_REGISTRY_LISTN", "did you mean IPFS_REGISTRY_LISTEN?"}},
		{"nerdctl variable unknown", "", []string{"IPFS_REGISTRY_SERVE_READ_TIMEOUTS=1s"}, nil, []string{"did you mean IPFS_REGISTRY_SERVE_READ_TIMEOUT?"}},
		{"a port of ours is no service link", "", []string{"IPFS_REGISTRY_PORT=5050"}, nil, []string{"IPFS_REGISTRY_PORT"}},
		{"no port", "", []string{"IPFS_REGISTRY_LISTEN=host"}, nil, []string{"listen", "variable IPFS_REGISTRY_LISTEN", `"host"`, "missing port", "HOST:PORT"}},
		{"port too large", "", nil, []string{"--listen=h:65536"}, []string{"flag --listen", "65535"}},
		{"level", "", nil, []string{"--log-level=loud"}, []string{`"loud"`, "debug, info, warn or error"}},
		{"no duration", "fetch-timeout: 30", nil, nil, []string{`"30"`, "no duration", "30s or 2m"}},
		{"negative duration", "", nil, []string{"--fetch-timeout=-1s"}, []string{"negative"}},
		{"endless duration", "", nil, []string{"--fetch-timeout=25h"}, []string{"too long", "24h"}},
		{"no multiaddr", "", nil, []string{"--swarm-listen=1.2.3.4"}, []string{"swarm-listen", "must begin with /"}},
		{"peer without id", "", nil, []string{"--peer=/ip4/1.2.3.4/tcp/1"}, []string{"/p2p/PEER-ID"}},
		{"none beside a peer", "", nil, []string{"--bootstrap=none", "--bootstrap=" + aPeer}, []string{"bootstrap", "alone"}},
		{"gateway scheme", "", nil, []string{"--gateway=ftp://a"}, []string{"https://"}},
		{"bad switch", "offline: maybe", nil, nil, []string{"offline", `"maybe"`, "true or false"}},
		{"bad number", "read-retry-num: x", nil, nil, []string{"read-retry-num", "no number"}},
		{"offline with peers", "offline: true", nil, []string{"--peer=" + aPeer}, []string{"offline (from the file", "peer (from the flag --peer)", "drop one"}},
		{"a foreign node made private", "", nil, []string{"--private", "--ipfs-address=/ip4/127.0.0.1/tcp/5001"}, []string{"ipfs-address", "private"}},
		{"missing file", "", nil, []string{"--config=/nonexistent/c.yaml"}, []string{"/nonexistent/c.yaml", "--config"}},
		{"huge file", strings.Repeat("#", maxFile+1), nil, nil, []string{"more than 1048576 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, c.env, c.args...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q\ndoes not say %q", err, w)
				}
			}
		})
	}
}

func TestKubernetesServiceLinksAreNotOurs(t *testing.T) {
	mustLoad(t, "", []string{
		"IPFS_REGISTRY_SERVICE_HOST=10.0.0.1", "IPFS_REGISTRY_SERVICE_PORT=5050", "IPFS_REGISTRY_SERVICE_PORT_HTTP=5050",
		"IPFS_REGISTRY_PORT=tcp://10.0.0.1:5050", "IPFS_REGISTRY_PORT_5050_TCP=tcp://10.0.0.1:5050",
		"IPFS_REGISTRY_PORT_5050_TCP_PROTO=tcp", "IPFS_REGISTRY_PORT_5050_TCP_ADDR=10.0.0.1",
		"IPFS_REGISTRY_ADMIN_SERVICE_HOST=10.0.0.2", "IPFS_REGISTRY_ADMIN_PORT=tcp://10.0.0.2:5051",
	})
}

func TestNoHome(t *testing.T) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	DefineGlobal(flags)
	_, err := Load(flags, nil)
	if err == nil || !strings.Contains(err.Error(), "--repo") {
		t.Errorf("got %v, want an error that says --repo", err)
	}
}

func TestCredentialsAreHidden(t *testing.T) {
	const secret = "s3cr3t"
	s := mustLoad(t, "", nil, "--gateway=https://user:"+secret+"@gw.example")
	var shown strings.Builder
	if err := s.WriteYAML(&shown); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shown.String(), "https://hidden@gw.example") || strings.Contains(shown.String(), secret) {
		t.Errorf("shown:\n%s", shown.String())
	}
	if s.Gateways[0] != "https://user:"+secret+"@gw.example" {
		t.Errorf("the setting itself is %q", s.Gateways[0])
	}
	for _, bad := range []string{"ftp://user:" + secret + "@gw", "https://u:p/" + secret + "@gw%zz", "user:" + secret + "@gw", "https://gw/?token=" + secret} {
		if _, err := load(t, "", nil, "--gateway="+bad); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What config show prints is a file that means the same.
func TestShownIsAFile(t *testing.T) {
	one := mustLoad(t, "", nil, "--peer="+aPeer, "--node-mdns", "--listen=:1", "--api=localhost:2")
	var shown strings.Builder
	if err := one.WriteYAML(&shown); err != nil {
		t.Fatal(err)
	}
	two := mustLoad(t, shown.String(), nil)
	for i, e := range one.Entries() {
		got := two.Entries()[i]
		if e.Name != "config" && (got.Name != e.Name || !slices.Equal(got.Values, e.Values)) {
			t.Errorf("%s: %q became %q", e.Name, e.Values, got.Values)
		}
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Options() {
		for _, name := range []string{o.Flag(), o.Env(), o.AlsoFlag, o.AlsoEnv} {
			if name != "" && seen[name] {
				t.Errorf("%s: the name %s is taken", o.Name, name)
			}
			seen[name] = true
		}
		if !strings.HasSuffix(o.Doc, ".") || o.Allowed == "" {
			t.Errorf("%s: doc %q, allowed %q", o.Name, o.Doc, o.Allowed)
		}
		if o.Default != "" {
			if err := o.set([]string{o.Default}); err != nil {
				t.Errorf("%s: default %q: %v", o.Name, o.Default, err)
			}
		}
		if o.Name == "fetch-timeout" && o.Default != defaultTimeout.String() {
			t.Errorf("fetch-timeout: default %s, and %v for 0", o.Default, defaultTimeout)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add("listen: a:1\nnode: {provide: none}\n", "x,y")
	f.Add("? [a]\n: b", "")
	f.Add("a: &a [*a]", ",")
	f.Add("node: {? {a: b} : c}", "/ip4/1.2.3.4")
	f.Add("1: 2\nnode.mdns: true\nnode: {mdns: false}", "none")
	f.Fuzz(func(t *testing.T, file, variable string) {
		dir := t.TempDir()
		path := filepath.Join(dir, "c")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		DefineGlobal(flags)
		s, err := Load(flags, []string{"HOME=/h", "IPFS_REGISTRY_CONFIG=" + path, "IPFS_REGISTRY_PEER=" + variable})
		if (s == nil) == (err == nil) {
			t.Fatalf("settings %v and error %v", s, err)
		}
		if err == nil && (s.FetchTimeout <= 0 || s.FetchTimeout > maxTimeout || s.Repo == "") {
			t.Fatalf("accepted %+v", s)
		}
	})
}
