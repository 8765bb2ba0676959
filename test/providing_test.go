package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// What is published here is found by a stock Kubo that was never told of us, by
// way of a DHT that both have joined through a third node.
func TestFoundByKubo(t *testing.T) {
	l := testImages(t).scratch
	loopback := settings{"Routing.LoopbackAddressesOnLanDHT": true}
	hub := kuboNode(t, loopback, settings{"Routing.Type": "dhtserver"})
	k := kuboNode(t, loopback, settings{"Routing.Type": "dht", "Bootstrap": []string{hub.address()}})
	d := announcing(t, hub)
	cid := push(t, d.repo, l.spec())
	id := strings.Fields(must(t, cli(t.Context(), d.repo, "id")))[0]
	k.finds(t, cid, id)
	layer := l.manifest(t).Layers[0].Digest
	if got := digest.FromString(must(t, k.ipfs(t, "cat", "/ipfs/"+cid+"/blobs/sha256/"+layer.Encoded()))); got != layer {
		t.Errorf("Kubo read %s; want %s", got, layer)
	}
}

// What was fetched and pinned is found too, where the node is to announce that.
func TestPinnedIsFoundByKubo(t *testing.T) {
	loopback := settings{"Routing.LoopbackAddressesOnLanDHT": true}
	hub := kuboNode(t, loopback, settings{"Routing.Type": "dhtserver"})
	k := kuboNode(t, loopback, settings{"Routing.Type": "dht", "Bootstrap": []string{hub.address()}})
	cid := push(t, tempDir(t), "--ipfs-address", hub.api, testImages(t).scratch.spec())
	d := announcing(t, hub, "--node-provide", "pinned")
	must(t, cli(t.Context(), d.repo, "pin", "add", cid))
	k.finds(t, cid, strings.Fields(must(t, cli(t.Context(), d.repo, "id")))[0])
}

// announcing is a daemon of ours in the DHT of another node.
func announcing(t *testing.T, hub *kubo, flags ...string) *daemon {
	t.Helper()
	d := &daemon{repo: tempDir(t), host: "localhost:" + port(t), admin: "localhost:" + port(t)}
	d.process = start(t, "ipfs-registry", cli(t.Context(), d.repo, append([]string{"serve", "--bootstrap", hub.address(),
		"--listen", d.host, "--admin", d.admin, "--swarm-listen", "/ip4/127.0.0.1/tcp/0"}, flags...)...))
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		t.Fatal(err)
	}
	return d
}

// finds waits until Kubo finds that a node of ours has a DAG.
func (k *kubo) finds(t *testing.T, cid, id string) {
	t.Helper()
	eventually(t, 2*startLimit, "Kubo finds who has the image", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cmd := k.ipfs(t, "routing", "findprovs", "--num-providers=5", cid)
		found := command(ctx, cmd.Path, cmd.Args[1:]...)
		found.Env = cmd.Env
		out, err := output(found)
		if strings.Contains(out, id) {
			return nil // that it waits for more in vain is no failure
		}
		return fmt.Errorf("it finds %q, and not %s: %w", out, id, err)
	})
}
