package test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kubo is a stock Kubo node that knows nobody.
type kubo struct {
	*process
	repo, id, swarm, api, gateway string
	wrap                          func(*exec.Cmd) *exec.Cmd // runs the daemon elsewhere
}

// settings are Kubo's, by their dotted names.
type settings map[string]any

// kuboNode starts one on loopback.
func kuboNode(t testing.TB, more ...settings) *kubo {
	t.Helper()
	return startKubo(t, "127.0.0.1", func(cmd *exec.Cmd) *exec.Cmd { return cmd }, more...)
}

// startKubo starts one that listens on an IP address.
func startKubo(t testing.TB, ip string, wrap func(*exec.Cmd) *exec.Cmd, more ...settings) *kubo {
	t.Helper()
	endToEnd(t)
	k := &kubo{repo: tempDir(t), wrap: wrap}
	k.swarm, k.api, k.gateway = "/ip4/"+ip+"/tcp/"+port(t), "/ip4/"+ip+"/tcp/"+port(t), ip+":"+port(t)
	all := settings{
		"Bootstrap": []string{}, "AutoConf.Enabled": false, "DNS.Resolvers": map[string]string{}, "Routing.DelegatedRouters": []string{},
		"Ipns.DelegatedPublishers": []string{}, "Routing.Type": "none", "AutoTLS.Enabled": false, "Addresses.Swarm": []string{k.swarm},
		"Addresses.API": k.api, "Addresses.Gateway": "/ip4/" + strings.Replace(k.gateway, ":", "/tcp/", 1),
	}
	for _, s := range more {
		maps.Copy(all, s)
	}
	must(t, k.ipfs(t, "init", "--profile=test"))
	k.id = configure(t, k.repo, all)
	k.process = start(t, "kubo", k.daemonCommand())
	if err := k.ready(startLimit, func() error {
		_, err := os.Stat(filepath.Join(k.repo, "api"))
		if err != nil {
			return err
		}
		return httpOK("http://" + k.gateway + "/ipfs/bafkqaaa")()
	}); err != nil {
		t.Fatal(err)
	}
	return k
}

// configure writes settings into the config file of a repository, and returns
// its peer ID. Ten runs of "ipfs config" would take longer than most tests.
func configure(t testing.TB, repo string, s settings) (id string) {
	t.Helper()
	file := filepath.Join(repo, "config")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	decode(t, data, &config)
	for name, value := range s {
		section, path := config, strings.Split(name, ".")
		for _, key := range path[:len(path)-1] {
			below, ok := section[key].(map[string]any)
			if !ok {
				below = map[string]any{}
				section[key] = below
			}
			section = below
		}
		section[path[len(path)-1]] = value
	}
	if data, err = json.MarshalIndent(config, "", "  "); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var identity struct{ Identity struct{ PeerID string } }
	decode(t, data, &identity)
	return identity.Identity.PeerID
}

func (k *kubo) daemonCommand() *exec.Cmd {
	cmd := command(context.Background(), tool("ipfs"), "daemon")
	cmd.Env = append(cmd.Env, "IPFS_PATH="+k.repo, "IPFS_TELEMETRY=off")
	return k.wrap(cmd)
}

func (k *kubo) address() string { return k.swarm + "/p2p/" + k.id }

// ipfs is a command of Kubo, which speaks to the daemon if one runs.
func (k *kubo) ipfs(t testing.TB, args ...string) *exec.Cmd {
	cmd := command(t.Context(), tool("ipfs"), args...)
	cmd.Env = append(cmd.Env, "IPFS_PATH="+k.repo, "IPFS_TELEMETRY=off")
	return cmd
}
