package node

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/pnet"
)

func TestGeneratedSwarmKeysAreKeysAndDiffer(t *testing.T) {
	keys := map[string]bool{}
	for range 3 {
		var b bytes.Buffer
		if err := GenerateSwarmKey(&b); err != nil {
			t.Fatal(err)
		}
		keys[b.String()] = true
		if psk, err := pnet.DecodeV1PSK(&b); err != nil || len(psk) != 32 {
			t.Errorf("%d bytes, %v", len(psk), err)
		}
	}
	if len(keys) != 3 {
		t.Error("a key was made twice")
	}
}

func TestWriteSwarmKeyNeverReplacesOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	if err := WriteSwarmKey(path); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(path, "swarm.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(path, "swarm.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := WriteSwarmKey(path); err == nil || !strings.Contains(err.Error(), "copy that key") {
		t.Errorf("second key: %v", err)
	}
	second, err := os.ReadFile(filepath.Join(path, "swarm.key"))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the key changed (%v)", err)
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
