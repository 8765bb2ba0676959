package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// finish turns the words that stand for nothing into nothing, and checks what
// only several settings together can say.
func (s *Settings) finish(environ []string) error {
	for _, f := range []*string{&s.Admin, &s.API, &s.IPFSAddress} {
		if *f == none {
			*f = ""
		}
	}
	if s.FetchTimeout == 0 {
		s.FetchTimeout = defaultTimeout
	}
	if len(s.Bootstrap) > 1 && (slices.Contains(s.Bootstrap, none) || slices.Contains(s.Bootstrap, "public")) {
		return errors.New("read the setting bootstrap: none and public cannot stand beside other values; give one of them alone, or multiaddrs")
	}
	if slices.Equal(s.Bootstrap, []string{"public"}) {
		s.Bootstrap = nil
	}
	if s.PolicyServe == "list" && s.PolicyList == "" {
		return errors.New("read the setting policy.serve: list serves what a file lists, and there is none; name it with policy.list")
	}
	if err := s.contradictions(); err != nil {
		return err
	}
	return s.expandHome(environ)
}

// defaultTimeout is what a fetch-timeout of 0 means; a test holds it to the table.
const defaultTimeout = 30 * time.Second

// contradictions are settings of which one would silently have no effect.
func (s *Settings) contradictions() error {
	for _, c := range []struct {
		a, b  string
		clash bool
	}{
		{"offline", "peer", s.Offline && len(s.Peers) > 0},
		{"ipfs-address", "private", s.IPFSAddress != "" && s.Private},
		{"ipfs-address", "offline", s.IPFSAddress != "" && s.Offline},
		{"ipfs-address", "gateway", s.IPFSAddress != "" && len(s.Gateways) > 0},
		{"ipfs-address", "peer", s.IPFSAddress != "" && len(s.Peers) > 0},
		{"ipfs-address", "policy.serve", s.IPFSAddress != "" && s.PolicyServe == "pinned"},
		{"ipfs-address", "api", s.IPFSAddress != "" && s.API != ""},
	} {
		if c.clash {
			return fmt.Errorf("read the settings %s (from the %s) and %s (from the %s): one excludes the other; drop one of them",
				c.a, s.Origin(c.a), c.b, s.Origin(c.b))
		}
	}
	return nil
}

// expandHome makes ~ in repo the home directory, which no shell did for a file,
// a variable or the default.
func (s *Settings) expandHome(environ []string) error {
	rest, ok := strings.CutPrefix(s.Repo, "~/")
	if !ok {
		return nil
	}
	for _, line := range environ {
		if home, ok := strings.CutPrefix(line, "HOME="); ok && home != "" {
			s.Repo = filepath.Join(home, rest)
			return nil
		}
	}
	return fmt.Errorf("find the repository %s: HOME is not set; name a directory with --repo or %sREPO", s.Repo, prefix)
}
