package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/node"
)

// doctorLimit bounds every one of the doctor's checks.
const doctorLimit = 10 * time.Second

// The verdicts of a check.
const (
	healthy = "ok"
	doubt   = "warn"
	ill     = "fail"
)

// finding is what one check found. Advice says what to do, if anything.
type finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"`
	Found   string `json:"found"`
	Advice  string `json:"advice,omitempty"`
}

// patient is what is examined. node is nil when no node could be had.
type patient struct {
	settings *config.Settings
	node     *node.Node
	// daemon tells whether node is a running one.
	daemon bool
	err    error
}

func (c *cli) doctorVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the settings, the repository, the addresses, the swarm key and the peers",
		Long: `Check the settings, the repository, the addresses, the swarm key and the peers. Nothing is changed and nothing public is contacted.
It fails if any check does.`,
		Args: arguments(),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "config")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, log, err := c.settings(cmd)
		if err != nil {
			return err
		}
		findings := c.examine(cmd.Context(), s, log)
		if err := c.result(*asJSON, findings, func(w io.Writer) error { return report(w, findings) }); err != nil {
			return err
		}
		for _, f := range findings {
			if f.Verdict == ill {
				return fmt.Errorf("check the %s: %s; %s", f.Check, f.Found, f.Advice)
			}
		}
		return nil
	}
	return cmd
}

func (c *cli) examine(ctx context.Context, s *config.Settings, log *slog.Logger) []finding {
	p := &patient{settings: s}
	p.node, p.daemon, p.err = c.admit(ctx, s, log)
	if p.node != nil {
		defer c.close(p.node)
	}
	findings := []finding{{"settings", healthy, "they are valid", ""}}
	for _, check := range []func(context.Context) []finding{p.repository, p.swarmKey, p.registry, p.readiness, p.peers} {
		ctx, cancel := context.WithTimeout(ctx, doctorLimit)
		findings = append(findings, check(ctx)...)
		cancel()
	}
	return findings
}

// admit finds the node to examine: a running one, else the repository's own
// with no host. It does not create a repository.
func (c *cli) admit(ctx context.Context, s *config.Settings, log *slog.Logger) (n *node.Node, daemon bool, err error) {
	n, err = running(ctx, s, nodeOptions(s, log))
	if err == nil || !errors.Is(err, node.ErrNoDaemon) {
		return n, err == nil, err
	}
	if !exists(s.Repo) {
		return nil, false, nil
	}
	o := nodeOptions(s, log)
	o.Online = false
	n, err = node.Open(ctx, o)
	return n, false, err
}

func report(out io.Writer, findings []finding) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Verdict, f.Check, f.Found)
		if f.Advice != "" {
			fmt.Fprintf(w, "\t\t%s\n", f.Advice)
		}
	}
	return w.Flush()
}
