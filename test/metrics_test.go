package test

import (
	"strconv"
	"strings"
	"testing"
)

// The admin address has what somebody who runs the daemon wants to know.
func TestMetrics(t *testing.T) {
	p := publishedImages(t)
	must(t, command(t.Context(), tool("crane"), "validate", "--remote", p.name(p.layouts["scratch"])))
	if got := request(t, "GET", p.url("%s/manifests/no-such-tag", p.layouts["scratch"])); got.StatusCode != 404 {
		t.Fatal(got.Status)
	}
	for _, name := range []string{"ipfs_registry_requests_total", "ipfs_registry_response_bytes_total", "ipfs_registry_failures_total",
		"ipfs_registry_blockstore_bytes", "ipfs_registry_request_seconds_count"} {
		if metric(t, p.daemon, name) == 0 {
			t.Errorf("%s is nothing after requests, a failure and a push", name)
		}
	}
	all := string(request(t, "GET", "http://"+p.admin+"/metrics").body)
	for _, name := range []string{"ipfs_registry_requests_in_flight ", "ipfs_registry_swarm_peers ", "ipfs_registry_retrievals_total"} {
		if !strings.Contains(all, "\n"+name) {
			t.Errorf("there is no %s", name)
		}
	}
	if got := request(t, "GET", "http://"+p.admin+"/livez"); got.StatusCode != 200 {
		t.Errorf("/livez: %s", got.Status)
	}
}

// metric is the sum of the metric's series.
func metric(t testing.TB, d *daemon, name string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(string(request(t, "GET", "http://"+d.admin+"/metrics").body)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		fields := strings.Fields(line)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += value
	}
	return sum
}
