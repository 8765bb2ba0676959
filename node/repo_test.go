package node

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/kubo/repo/fsrepo"
)

// ownerEnv makes TestMain hold a repository open instead of running tests.
const ownerEnv = "NODE_TEST_HOLD_REPOSITORY"

// holdRepository is a second process's daemon, until its stdin ends.
func holdRepository(path string) error {
	r, err := openRepo(path)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "open")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return r.Close()
}

// Where a part of Kubo does not stop in time, the repository is closed all the
// same, with all that is in it.
func TestRepositoryOfANodeThatDoesNotStop(t *testing.T) {
	o := loopback(t.TempDir())
	o.stopTimeout = time.Nanosecond
	n := startNode(t, o)
	root := addFile(t, n, []byte("still here"))
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := openRepo(o.RepoPath)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := blockstore.NewBlockstore(r.Datastore()).Get(t.Context(), root)
	if err != nil || !bytes.Contains(b.RawData(), []byte("still here")) {
		t.Errorf("read %v, %v", b, err)
	}
}

func TestOpenCreatesAnOrdinaryKuboRepository(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there", "yet")
	if err := startNode(t, Options{RepoPath: path}).Close(); err != nil {
		t.Fatal(err)
	}
	r, err := fsrepo.Open(path) // as Kubo does, with no overlay
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cfg, err := r.Config()
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Import.UnixFSChunker.WithDefault(""); got != "size-1048576" {
		t.Errorf("chunker %q, want that of %s", got, importProfile)
	}
	if got := cfg.Import.CidVersion.WithDefault(0); got != 1 {
		t.Errorf("CID version %d", got)
	}
	if len(cfg.Bootstrap) != 1 || cfg.Bootstrap[0] != "auto" {
		t.Errorf("bootstrap %v, want Kubo's default", cfg.Bootstrap)
	}
	left, err := filepath.Glob(filepath.Join(path, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunDoesNotChangeTheConfigFile(t *testing.T) {
	path := t.TempDir()
	if err := createRepo(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(path, "config"))
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, loopback(path))
	cfg, err := kuboOf(t, n).node.Repo.Config()
	if err != nil {
		t.Fatal(err)
	}
	if err := kuboOf(t, n).node.Repo.SetConfig(cfg); err == nil {
		t.Error("the settings of the run were written to the repository")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(path, "config"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("config changed (%v) from %s to %s", err, before, after)
	}
}

func TestCrashDuringCreationLeavesNoHalf(t *testing.T) {
	path := t.TempDir()
	// What a process leaves that dies before the config file is linked.
	for _, name := range []string{"version", "datastore_spec"} {
		whole := t.TempDir()
		if err := initRepo(whole); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(whole, name), filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(path, ".init-123"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	startNode(t, Options{RepoPath: path})
}

func TestRepositoryInUse(t *testing.T) {
	t.Run("by this process", func(t *testing.T) {
		path := t.TempDir()
		startNode(t, Options{RepoPath: path})
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		for _, spelling := range []string{path, path + "/./", link} {
			_, err := Open(t.Context(), Options{RepoPath: spelling})
			wantInUse(t, err, path, "by this process")
		}
		// Having looked must not have given the lock up.
		if locked, err := fsrepo.LockedByOtherProcess(path); err != nil || !locked {
			t.Errorf("locked %v, %v", locked, err)
		}
	})
	t.Run("by another", func(t *testing.T) {
		path := t.TempDir()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), ownerEnv+"="+path)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
			t.Fatalf("the other process said %q, %v", line, err)
		}
		_, err = Open(t.Context(), Options{RepoPath: path})
		wantInUse(t, err, path, fmt.Sprintf("by process %d", cmd.Process.Pid))
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Fatal(err)
		}
		startNode(t, Options{RepoPath: path})
	})
}

func wantInUse(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("error %v, want ErrInUse", err)
	}
	for _, part := range append(parts, "stop the daemon", "--repo") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no repository":         {},
		"provide mode":          {RepoPath: "x", Provide: "everything"},
		"peer without ID":       {RepoPath: "x", Peers: []string{"/ip4/127.0.0.1/tcp/1"}},
		"peer that is no maddr": {RepoPath: "x", Peers: []string{"127.0.0.1:1"}},
		"bootstrap":             {RepoPath: "x", Bootstrap: []string{"none", "none"}},
		"listen address":        {RepoPath: "x", SwarmListen: []string{"4001"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if n, err := Open(t.Context(), o); err == nil {
				_ = n.Close()
				t.Fatal("opened")
			}
			if _, err := os.Stat("x"); err == nil {
				t.Error("made a repository all the same")
			}
		})
	}
}

func TestDatastorePersists(t *testing.T) {
	path := t.TempDir()
	key := datastore.NewKey("a/b")
	first := startNode(t, Options{RepoPath: path})
	if err := first.Datastore().Put(t.Context(), key, []byte("value")); err != nil {
		t.Fatal(err)
	}
	raw, err := kuboOf(t, first).node.Repo.Datastore().Get(t.Context(), datastore.NewKey("ipfs-registry/a/b"))
	if err != nil || string(raw) != "value" {
		t.Errorf("in the repository: %q, %v", raw, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := startNode(t, Options{RepoPath: path}).Datastore().Get(t.Context(), key)
	if err != nil || string(got) != "value" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLeafPathsNameTheFilesOfBlocks(t *testing.T) {
	n := startNode(t, Options{RepoPath: t.TempDir()})
	_, leaves := addTree(t, n, "one block", "another block")
	paths, err := leafPaths(kuboOf(t, n).node.Repo, kuboOf(t, n).denied)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"one block", "another block"} {
		path, ok := paths(leaves[i])
		if !ok {
			t.Fatal("no path")
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if path, ok := paths(identityCID(t, "inline")); ok {
		t.Errorf("a CID that is its block has the file %s", path)
	}
}

func TestFlatfsDir(t *testing.T) {
	flatfs := map[string]any{"type": "flatfs", "path": "blocks"}
	for name, test := range map[string]struct {
		mount any
		want  string
	}{
		"flatfs":          {map[string]any{"mountpoint": "/blocks", "type": "flatfs", "path": "b"}, "b"},
		"measured flatfs": {map[string]any{"mountpoint": "/blocks", "type": "measure", "child": flatfs}, "blocks"},
		"not for blocks":  {map[string]any{"mountpoint": "/", "type": "flatfs", "path": "b"}, ""},
		"other datastore": {map[string]any{"mountpoint": "/blocks", "type": "levelds", "path": "b"}, ""},
		"no mount":        {"nonsense", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := flatfsDir(map[string]any{"type": "mount", "mounts": []any{test.mount}})
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	if got := flatfsDir(map[string]any{"type": "pebbleds"}); got != "" {
		t.Errorf("pebble has the flatfs %q", got)
	}
}

func identityCID(t *testing.T, s string) cid.Cid {
	t.Helper()
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0}.Sum([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
