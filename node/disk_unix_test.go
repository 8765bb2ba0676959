//go:build unix

package node

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// The disk is as full as df says.
func TestDiskSpaceIsThatOfDF(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("df", "-P", "-k", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	var device string
	var size, used, left uint64
	_, line, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if _, err := fmt.Sscan(line, &device, &size, &used, &left); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	free, total, err := diskSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Others write to it meanwhile.
	want, near := (used+left)<<10, (used+left)<<10/100
	if max(total, want)-min(total, want) > near || max(free, left<<10)-min(free, left<<10) > near {
		t.Errorf("%d of %d bytes are free; df says %d of %d", free, total, left<<10, want)
	}
}
