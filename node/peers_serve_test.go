package node

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What goes wrong while a stranger is served is in our log, at debug: anybody
// could fill it.
func TestServingPeersIsLogged(t *testing.T) {
	var logs bytes.Buffer
	served := httptest.NewUnstartedServer(nil)
	served.Config = newPeerServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") }),
		slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	served.Start()
	if resp, err := http.Get(served.URL); err == nil {
		_ = resp.Body.Close()
		t.Errorf("it was answered with %s", resp.Status)
	}
	served.Close() // and with it all that is logged
	if said := logs.String(); !strings.Contains(said, "level=DEBUG") || !strings.Contains(said, "a bug") {
		t.Errorf("logged %q", said)
	}
}
