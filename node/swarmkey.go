package node

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/pnet"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const swarmKeyFile = "swarm.key"

// CheckSwarmKey fails if a node would not take key for the content of a file
// swarm.key. It does not say why, which may be a part of the key.
func CheckSwarmKey(key []byte) error {
	if _, err := pnet.DecodeV1PSK(bytes.NewReader(key)); err != nil {
		return errors.New("it has not the three lines of one: /key/swarm/psk/1.0.0/, /base16/ and 64 hexadecimal digits")
	}
	return nil
}

// GenerateSwarmKey writes a new random key of a private swarm to w, in the form
// of the file swarm.key.
func GenerateSwarmKey(w io.Writer) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("make a swarm key: %w", err)
	}
	_, err := fmt.Fprintf(w, "/key/swarm/psk/1.0.0/\n/base16/\n%s\n", hex.EncodeToString(key))
	return err
}

// WriteSwarmKey makes the swarm of the repository at repoPath a private one
// with a new key. It never replaces a key: the swarm would fall apart.
func WriteSwarmKey(repoPath string) error {
	if err := writeSwarmKey(repoPath); err != nil {
		hint := ""
		if errors.Is(err, os.ErrExist) {
			hint = "copy that key to the other nodes, or move it away for a new swarm"
		}
		return &image.Error{Op: "write a swarm key into " + repoPath, Err: err, Hint: hint}
	}
	return nil
}

func writeSwarmKey(repoPath string) error {
	if err := os.MkdirAll(repoPath, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(repoPath, ".swarm.key-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	err = errors.Join(GenerateSwarmKey(tmp), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	// Link, unlike Rename, fails when there is a key already.
	return os.Link(tmp.Name(), filepath.Join(repoPath, swarmKeyFile))
}
