package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A token is sent whole or not at all.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{
		"secret\n":                      "",
		strings.Repeat("x", maxToken):   "",
		strings.Repeat("x", maxToken+1): fmt.Sprintf("more than %d bytes", maxToken),
		"\n":                            "not one line",
		"one\ntwo":                      "not one line",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readToken(file)
		if want == "" && (err != nil || got != strings.TrimSpace(text)) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d bytes gave %d, %v; want %q", len(text), len(got), err, want)
		}
	}
}
