package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// The docker-compose.yml of the tree: three nodes that are a private swarm and
// find each other. What is pushed on the first is pulled through the third.
func TestComposeSwarm(t *testing.T) {
	images, d := testImages(t), dockerEngine(t)
	dir, listen := builtTree(t, "docker-compose.yml", "Dockerfile", ".dockerignore"), port(t)
	compose := func(args ...string) *exec.Cmd {
		cmd := command(context.Background(), "docker-compose", append([]string{"--project-name", "swarm"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(cmd.Env, "DOCKER_HOST="+d.host, "IPFS_REGISTRY_PORT="+listen)
		return cmd
	}
	t.Cleanup(func() { must(t, compose("down", "--volumes", "--rmi", "all", "--timeout", "5")) })
	must(t, compose("up", "--build", "--detach"))

	archive := filepath.Join(dir, "app.tar")
	must(t, command(t.Context(), "skopeo", "--insecure-policy", "copy", "--quiet", images.scratch.spec(), "docker-archive:"+archive+":app:v1"))
	cid := lastLine(must(t, compose("run", "--rm", "-T", "--volume", archive+":/app.tar:ro", "first", "push", "docker-archive:/app.tar")))

	for _, name := range []string{"first", "second", "third"} {
		eventually(t, 2*startLimit, name+" has found the others", func() error {
			out, err := output(compose("exec", "-T", name, "/ipfs-registry", "swarm", "peers", "--json"))
			if err != nil {
				return err
			}
			return hasPeers(out, 2)
		})
	}
	image := "localhost:" + listen + "/ipfs/" + cid
	t.Cleanup(func() { d.forget(t, image) })
	expectGreeting(t, must(t, d.cmd(t, "run", "--rm", "--net=none", image)))
}

// hasPeers checks what "swarm peers --json" printed: so many peers, however
// many connections there are to each.
func hasPeers(printed string, want int) error {
	var connections []struct{ ID string }
	if err := json.Unmarshal([]byte(printed), &connections); err != nil {
		return err
	}
	peers := map[string]bool{}
	for _, c := range connections {
		peers[c.ID] = true
	}
	if len(peers) != want {
		return fmt.Errorf("connected to %d of %d peers: %s", len(peers), want, printed)
	}
	return nil
}
