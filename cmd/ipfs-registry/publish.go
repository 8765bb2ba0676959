package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
)

// named is what "publish name" prints.
type named struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Pull      string `json:"pull"`
	Announced bool   `json:"announced"`
}

func (c *cli) publishVerb() *cobra.Command {
	cmd := &cobra.Command{Use: "publish", Short: "Have a name lead to an image", RunE: needsVerb}
	cmd.AddCommand(c.publishNameVerb())
	return cmd
}

func (c *cli) publishNameVerb() *cobra.Command {
	var record node.NameRecord
	cmd := &cobra.Command{
		Use:   "name REF",
		Short: "Have the name of a key lead to a reference; the last line printed is the name to pull by",
		Long: `Have the name of a key lead to a reference, from now until it is published again. The key signs that it does.
The last line printed is the name to pull by. Only a daemon tells others, and renews the record as long as it runs.`,
		Args: arguments("REF"),
	}
	asJSON := jsonFlag(cmd)
	cmd.Flags().StringVar(&record.Key, "key", node.SelfKey, "the `NAME` of the key in the repository, made if there is none; self is the node's own")
	cmd.Flags().DurationVar(&record.TTL, "ttl", time.Minute, "how long others need not ask again where the name leads")
	cmd.Flags().DurationVar(&record.Lifetime, "lifetime", 48*time.Hour, "how long the record is valid if no daemon renews it")
	config.Define(cmd.Flags(), "publish")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		found, err := c.publishName(cmd, args[0], record)
		if err != nil {
			return err
		}
		return c.result(*asJSON, found, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, found.Pull)
			return err
		})
	}
	return cmd
}

func (c *cli) publishName(cmd *cobra.Command, arg string, record node.NameRecord) (named, error) {
	ref, err := reference(arg)
	switch {
	case err != nil:
		return named{}, err
	case ref.Tag != "" || ref.Digest != "" || ref.Gateway != "":
		return named{}, misuse(errors.New("publish a name: it leads to a path and not to a tag, digest or gateway; give ipfs://<CID>[/<path>]"))
	case record.TTL < 0 || record.Lifetime < time.Minute:
		return named{}, misuse(errors.New("publish a name: --ttl is negative or --lifetime under a minute; give longer ones"))
	}
	s, log, err := c.settings(cmd)
	if err != nil {
		return named{}, err
	}
	n, err := c.open(cmd.Context(), s, log, local)
	if err != nil {
		return named{}, err
	}
	defer c.close(n)
	if record.Path = ref.Path.String(); ref.Moving.Name != "" {
		record.Path = ref.Moving.String()
	}
	done, err := n.PublishName(cmd.Context(), record)
	if err != nil {
		return named{}, err
	}
	if done.Unannounced != "" {
		fmt.Fprintf(c.err, "warning: nobody else knows yet (%s); a daemon that runs on this repository will tell\n", done.Unannounced)
	}
	return named{done.Name, record.Path, registryHost(s.Listen) + "/ipns/" + done.Name, done.Unannounced == ""}, nil
}

// fixed has ref name what a name that moves leads to now, so that a verb sees
// one version of it from beginning to end.
func fixed(ctx context.Context, n *node.Node, ref image.Reference, log *slog.Logger) (image.Reference, error) {
	if ref.Moving.Name == "" {
		return ref, nil
	}
	v, err := image.NewNames(n, n.Datastore(), log).Current(ctx, ref.Moving)
	if err != nil {
		return ref, err
	}
	if v.Stale != nil {
		log.Warn("the name could not be resolved again; this is what it led to before", "name", ref.Moving, "path", v.Path, "since", v.Since, "error", v.Stale)
	}
	ref.Path, ref.Moving = v.Path, image.Moving{}
	return ref, nil
}
