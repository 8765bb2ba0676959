package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
)

// identity is what id prints.
type identity struct {
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
}

func (c *cli) idVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Print the node's peer ID and, while the daemon runs, its addresses",
		Args:  arguments(),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "id")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, log, err := c.settings(cmd)
		if err != nil {
			return err
		}
		n, err := c.open(cmd.Context(), s, log, local)
		if err != nil {
			return err
		}
		defer c.close(n)
		id, addresses, err := n.ID(cmd.Context())
		if err != nil {
			return err
		}
		found := identity{id, append([]string{}, addresses...)}
		return c.result(*asJSON, found, found.text)
	}
	return cmd
}

func (i identity) text(w io.Writer) error {
	if _, err := fmt.Fprintln(w, i.ID); err != nil {
		return err
	}
	for _, a := range i.Addresses {
		if _, err := fmt.Fprintln(w, a); err != nil {
			return err
		}
	}
	return nil
}
