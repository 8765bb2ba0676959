package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/ipfs-shipyard/nopfs"
	lockfile "github.com/ipfs/go-fs-lock"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core/coreiface/options"
	"github.com/ipfs/kubo/repo"
	"github.com/ipfs/kubo/repo/fsrepo"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const importProfile = "unixfs-v1-2025"

// ErrInUse is wrapped by Open's error when another process, or another Node of
// this one, has the repository open.
var ErrInUse = errors.New("the repository is in use")

// openRepo opens the Kubo repository at path and creates it first if need be.
// The caller closes it; until then no other process can open it.
func openRepo(path string) (repo.Repo, error) {
	if err := registerPlugins(); err != nil {
		return nil, err
	}
	if err := createRepo(path); err != nil {
		return nil, repoError("create", path, err)
	}
	if err := checkFree(path); err != nil {
		return nil, repoError("open", path, err)
	}
	r, err := fsrepo.Open(path)
	if err != nil {
		return nil, repoError("open", path, err)
	}
	return r, nil
}

// makeRepoDir makes the directory of the repository, so that it has one path
// from the start; see repoPath.
func makeRepoDir(o Options) (string, error) {
	if o.RepoPath != "" {
		if err := os.MkdirAll(o.RepoPath, 0o700); err != nil {
			return "", repoError("create", o.RepoPath, err)
		}
	}
	return o.repoPath()
}

// createRepo initialises a repository unless there is one. Its config file,
// the mark of a repository, comes last and whole, so that a crash leaves none
// or all of it, and of two processes the first wins.
func createRepo(path string) error {
	if fsrepo.IsInitialized(path) {
		return nil
	}
	tmp, err := os.MkdirTemp(path, ".init-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := initRepo(tmp); err != nil {
		return err
	}
	for _, name := range []string{"datastore_spec", "version", "config"} {
		err := os.Link(filepath.Join(tmp, name), filepath.Join(path, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func initRepo(path string) error {
	identity, err := config.CreateIdentity(io.Discard, []options.KeyGenerateOption{options.Key.Type(options.Ed25519Key)})
	if err != nil {
		return fmt.Errorf("make an identity: %w", err)
	}
	cfg, err := config.InitWithIdentity(identity)
	if err != nil {
		return err
	}
	if err := config.Profiles[importProfile].Transform(cfg); err != nil {
		return err
	}
	return fsrepo.Init(path, cfg)
}

// checkFree fails if the repository is open. Kubo lets one process open it
// several times, but two nodes on one would not notice each other's writes.
func checkFree(path string) error {
	lock, err := lockfile.Lock(path, fsrepo.LockFile)
	if err != nil {
		return err
	}
	return lock.Close()
}

// inUse names the process that holds the lock of the repository at path.
func inUse(path string, locked lockfile.LockedError) error {
	err := fmt.Errorf("%w by this process", ErrInUse)
	// The lock is a POSIX one: its holder gives it up by looking at its file.
	if locked == "someone else has the lock" {
		err = ErrInUse
		if pid := lockHolder(filepath.Join(path, fsrepo.LockFile)); pid > 0 {
			err = fmt.Errorf("%w by process %d", ErrInUse, pid)
		}
	}
	return &image.Error{
		Op:   "open repository " + path,
		Err:  err,
		Hint: "stop the daemon that runs on it, or give this one its own with --repo",
	}
}

func repoError(op, path string, err error) error {
	var locked lockfile.LockedError
	hint := ""
	switch {
	case errors.As(err, &locked):
		return inUse(path, locked)
	case errors.Is(err, fsrepo.ErrNeedMigration):
		hint = `run "ipfs repo migrate" of Kubo 0.43 on it, or give another with --repo`
	case errors.Is(err, os.ErrPermission):
		hint = "make it writable for this user, or give another with --repo"
	}
	return &image.Error{Op: op + " repository " + path, Err: err, Hint: hint}
}

// overlaidRepo is a repository whose configuration is, for this run, another
// than the one in its file. What is written to the file through Kubo's own
// commands goes there untouched, as they open the repository below.
type overlaidRepo struct {
	repo.Repo
	config atomic.Pointer[config.Config]
	close  func() error
	// swarmKey names the file with the swarm key, if it is not the repository's.
	swarmKey string
	// blocker is set while the node starts.
	blocker *nopfs.Blocker
	barrier *barrier // likewise
	// diskFull is called when a block finds no room; nil means nothing is to be done.
	diskFull func()
	disk     *disk
	online   bool
	// content is what readers of ours use, once the node runs.
	content atomic.Pointer[content]
}

func newOverlaidRepo(r repo.Repo, swarmKey string) *overlaidRepo {
	return &overlaidRepo{Repo: r, close: sync.OnceValue(r.Close), swarmKey: swarmKey}
}

// SwarmKey returns the key of the private swarm, or nil when there is none.
func (r *overlaidRepo) SwarmKey() ([]byte, error) {
	if r.swarmKey == "" {
		return r.Repo.SwarmKey()
	}
	return os.ReadFile(r.swarmKey)
}

// Config returns the configuration of this run.
func (r *overlaidRepo) Config() (*config.Config, error) { return r.config.Load(), nil }

// SetConfig refuses: cfg is made of the settings of this run.
func (r *overlaidRepo) SetConfig(*config.Config) error {
	return errors.New("the settings of a running node are not written to its repository")
}

// Close closes the repository once, however often it is called: a node that
// failed to start may or may not have done it.
func (r *overlaidRepo) Close() error { return r.close() }
