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
	d := &daemon{repo: tempDir(t), host: "localhost:" + port(t), admin: "localhost:" + port(t)}
	d.process = start(t, "ipfs-registry", cli(t.Context(), d.repo, "serve", "--bootstrap", hub.address(), "--listen", d.host, "--admin", d.admin,
		"--swarm-listen", "/ip4/127.0.0.1/tcp/0"))
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		t.Fatal(err)
	}
	cid := push(t, d.repo, l.spec())
	id := strings.Fields(must(t, cli(t.Context(), d.repo, "id")))[0]
	eventually(t, 2*startLimit, "Kubo finds who has the image", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cmd := k.ipfs(t, "routing", "findprovs", "--num-providers=1", cid)
		found := command(ctx, cmd.Path, cmd.Args[1:]...)
		found.Env = cmd.Env
		out, err := output(found)
		if err == nil && !strings.Contains(out, id) {
			err = fmt.Errorf("it finds %q, and not %s", out, id)
		}
		return err
	})
	layer := l.manifest(t).Layers[0].Digest
	if got := digest.FromString(must(t, k.ipfs(t, "cat", "/ipfs/"+cid+"/blobs/sha256/"+layer.Encoded()))); got != layer {
		t.Errorf("Kubo read %s; want %s", got, layer)
	}
}
