package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
)

func (c *cli) configVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or check the settings",
		RunE:  needsVerb,
	}
	cmd.AddCommand(c.configShowVerb(), c.configValidateVerb())
	return cmd
}

func (c *cli) configShowVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print every setting in force and where it came from, credentials hidden",
		Args:  arguments(),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "config")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, _, err := c.settings(cmd)
		if err != nil {
			return err
		}
		return c.result(*asJSON, s.Entries(), s.WriteYAML)
	}
	return cmd
}

func (c *cli) configValidateVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the flags, the environment and the file, and do nothing else",
		Args:  arguments(),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "config")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, _, err := c.settings(cmd); err != nil {
			return err
		}
		return c.result(*asJSON, map[string]bool{"valid": true}, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "valid")
			return err
		})
	}
	return cmd
}
