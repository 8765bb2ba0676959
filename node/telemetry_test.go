package node

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/kubo/plugin"
	"github.com/ipfs/kubo/plugin/plugins/telemetry"
	"github.com/ipfs/kubo/repo/fsrepo"
)

// The repository and the environment here ask for telemetry, at once and to a
// server that listens. The plugin writes its identifier when it starts, so the
// file tells without any waiting. Starting it by hand afterwards shows that the
// same would have been noticed.
func TestTelemetryNeverStarts(t *testing.T) {
	t.Setenv("IPFS_TELEMETRY", "on")
	reports := make(chan struct{}, 16)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reports <- struct{}{} }))
	defer server.Close()

	path := t.TempDir()
	wish := map[string]any{"Mode": "on", "Endpoint": server.URL, "Delay": "1ms"}
	setConfig(t, path, "Plugins.Plugins.telemetry.Config", wish)
	identifier := filepath.Join(path, "telemetry_uuid")

	n := startNode(t, loopback(path))
	if err := n.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(identifier); err == nil {
		t.Error("telemetry was started: it wrote its identifier")
	}
	cfg, err := kuboOf(t, n).node.Repo.Config()
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Plugins.Plugins["telemetry"].Disabled {
		t.Error("telemetry is not disabled")
	}
	select {
	case <-reports:
		t.Error("telemetry was sent")
	default:
	}

	byHand := telemetry.Plugins[0].(plugin.PluginDaemonInternal)
	if err := byHand.Init(&plugin.Environment{Repo: path, Config: wish}); err != nil {
		t.Fatal(err)
	}
	kubo := kuboOf(t, n).node
	kubo.IsDaemon = true // nothing of ours sets it
	if err := byHand.Start(kubo); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(identifier); err != nil {
		t.Errorf("telemetry started by hand leaves no trace: %v", err)
	}
	select {
	case <-reports:
	case <-within(t, patience).Done():
		t.Error("telemetry started by hand sends nothing")
	}
}

// setConfig sets a key of the repository's config file, and creates the
// repository first if need be.
func setConfig(t *testing.T, path, key string, value any) {
	t.Helper()
	if err := registerPlugins(); err != nil {
		t.Fatal(err)
	}
	if err := createRepo(path); err != nil {
		t.Fatal(err)
	}
	r, err := fsrepo.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	// By way of JSON, as Kubo's config command does.
	var plain any
	if b, err := json.Marshal(value); err != nil || json.Unmarshal(b, &plain) != nil {
		t.Fatal(err)
	}
	if err := r.SetConfigKey(key, plain); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
