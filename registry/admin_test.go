package registry_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipfs-registry/ipfs-registry/registry"
)

func TestAdmin(t *testing.T) {
	var waits error = errors.New("0 of 2 peers are connected")
	metrics := prometheus.NewRegistry()
	registry.New(nil, registry.Options{Metrics: metrics})
	srv := httptest.NewServer(registry.NewAdmin(func(context.Context) error { return waits }, metrics))
	defer srv.Close()
	for _, tc := range []struct {
		path   string
		status int
		body   string
	}{
		{"/livez", 200, "ok\n"},
		{"/readyz", 503, "waiting: 0 of 2 peers are connected\n"},
		{"/metrics", 200, "ipfs_registry_requests_in_flight 0"},
		{"/v2/", 404, "not found"},
	} {
		res, body := do(t, "GET", srv.URL+tc.path)
		if res.StatusCode != tc.status || !strings.Contains(string(body), tc.body) {
			t.Errorf("%s: %d %q; want %d with %q", tc.path, res.StatusCode, body, tc.status, tc.body)
		}
	}
	waits = nil
	if res, body := do(t, "GET", srv.URL+"/readyz"); res.StatusCode != 200 || string(body) != "ok\n" {
		t.Errorf("ready: %d %q", res.StatusCode, body)
	}
}
