package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/node"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// pushLayer pushes the file of --layer in place of an image.
func (c *cli) pushLayer(cmd *cobra.Command, f *pushFlags) error {
	if _, _, err := f.check(); err != nil {
		return misuse(err)
	}
	s, log, err := c.settings(cmd)
	if err != nil {
		return err
	}
	result, err := c.publish(cmd.Context(), s, log, f.layer, func(ctx context.Context, n *node.Node, o publish.PushOptions) (publish.Result, error) {
		o.Chunker, o.Name = publish.Chunker(f.chunker), f.name
		return publish.PushLayer(ctx, f.layer, n, o)
	})
	if err != nil {
		return err
	}
	found := newPushed(result, s.Listen)
	found.Name = strings.Replace(found.Name, "/ipfs/", "/layer/", 1)
	return c.result(*f.json, found, found.text)
}
