package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// One repository has one daemon, and the second one says so.
func TestSecondDaemon(t *testing.T) {
	endToEnd(t)
	d := serve(t, tempDir(t))
	cmd, _, err := serveCommand(d.repo)
	if err != nil {
		t.Fatal(err)
	}
	expectFailure(t, start(t, "second daemon", cmd), d.repo)
	if a := request(t, "GET", "http://"+d.host+"/v2/"); a.StatusCode != 200 {
		t.Errorf("the first daemon answers %s", a.Status)
	}
}

// The repository is an ordinary Kubo repository.
func TestKuboOpensTheRepository(t *testing.T) {
	images, repo := testImages(t), tempDir(t)
	d := serve(t, repo)
	cid := push(t, repo, images.real.spec())
	d.terminate(t)
	ipfs := func(args ...string) string {
		cmd := command(t.Context(), tool("ipfs"), append([]string{"--offline"}, args...)...)
		cmd.Env = append(cmd.Env, "IPFS_PATH="+repo)
		return must(t, cmd)
	}
	if got := ipfs("ls", "/ipfs/"+cid); !strings.Contains(got, "index.json") {
		t.Errorf("ipfs ls: %s", got)
	}
	if got := ipfs("pin", "ls", "--type=recursive"); !strings.Contains(got, cid) {
		t.Errorf("the root is not pinned: %s", got)
	}
	ipfs("repo", "verify")
	added := lastLine(ipfs("add", "-r", "-Q", "--cid-version=1", images.scratch.dir))
	// And what ipfs added there, we serve.
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", serve(t, repo).name(added)))
}

// Nobody needs to be root, for the daemon or for the verbs beside it.
func TestOrdinaryUser(t *testing.T) {
	images := testImages(t)
	const nobody = 65534
	layout := filepath.Join(tempDir(t), "layout")
	must(t, exec.Command("cp", "-r", images.scratch.dir, layout)) // out of root's home
	home := tempDir(t)
	for _, dir := range []string{filepath.Dir(layout), home} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	as := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Env = append(cmd.Env, "HOME="+home)
		cmd.Dir = home
		return cmd
	}
	cmd, d, err := serveCommand(filepath.Join(home, "repo"))
	if err != nil {
		t.Fatal(err)
	}
	d.process = start(t, "serve as nobody", as(cmd))
	if err := d.ready(startLimit, httpReady(d.admin)); err != nil {
		t.Fatal(err)
	}
	cid := lastLine(must(t, as(cli(t.Context(), d.repo, "push", "oci:"+layout+":"+imageTag))))
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", d.name(cid)))
	info, err := os.Stat(filepath.Join(d.repo, "control.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has the mode %v (%v); want 0600", info.Mode(), err)
	}
	d.terminate(t)
}

// A daemon starts and stops within seconds, with a client still connected.
func TestStartAndStop(t *testing.T) {
	images, repo := testImages(t), tempDir(t)
	cid := push(t, repo, images.real.spec())
	began := time.Now()
	d := serve(t, repo)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("ready after %s", took)
	}
	slow := slowReader(t, d.url("%s/blobs/%s", cid, images.real.manifest(t).Layers[0].Digest))
	defer slow.Close()
	began = time.Now()
	d.terminate(t)
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("stopped after %s", took)
	}
}
