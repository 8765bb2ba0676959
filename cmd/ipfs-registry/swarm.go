package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/node"
)

func (c *cli) swarmVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "swarm",
		Short: "The peers of the node, and the key of a private swarm",
		RunE:  needsVerb,
	}
	cmd.AddCommand(c.swarmKeyVerb(), c.swarmPeersVerb(), c.swarmConnectVerb())
	return cmd
}

func (c *cli) swarmPeersVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Print the peers that the running node is connected to",
		Args:  arguments(),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "swarm")
	cmd.RunE = c.onDaemon(func(cmd *cobra.Command, n *node.Node, _ []string) error {
		peers, err := n.Peers(cmd.Context())
		if err != nil {
			return err
		}
		return c.result(*asJSON, append([]node.Peer{}, peers...), func(w io.Writer) error { return peerLines(w, peers) })
	})
	return cmd
}

func peerLines(w io.Writer, peers []node.Peer) error {
	for _, p := range peers {
		if _, err := fmt.Fprintf(w, "%s/p2p/%s\n", p.Address, p.ID); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) swarmConnectVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connect MULTIADDR",
		Short: "Connect the running node to a peer",
		Args:  arguments("MULTIADDR"),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "swarm")
	cmd.RunE = c.onDaemon(func(cmd *cobra.Command, n *node.Node, args []string) error {
		if err := n.Connect(cmd.Context(), args[0]); err != nil {
			return err
		}
		return c.result(*asJSON, map[string]string{"connected": args[0]}, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "connected", args[0])
			return err
		})
	})
	return cmd
}

// onDaemon runs do with the node that runs already.
func (c *cli) onDaemon(do func(cmd *cobra.Command, n *node.Node, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, log, err := c.settings(cmd)
		if err != nil {
			return err
		}
		n, err := c.daemon(cmd, s, log)
		if err != nil {
			return err
		}
		defer c.close(n)
		return do(cmd, n, args)
	}
}

// daemon returns the node that runs already; these verbs make no sense without.
func (c *cli) daemon(cmd *cobra.Command, s *config.Settings, log *slog.Logger) (*node.Node, error) {
	n, err := running(cmd.Context(), s, nodeOptions(s, log))
	if errors.Is(err, node.ErrNoDaemon) {
		return nil, fmt.Errorf("run %s: no daemon runs in %s; start one with: ipfs-registry serve --repo %s",
			cmd.CommandPath(), s.Repo, s.Repo)
	}
	return n, err
}
