package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// keepOptions are the settings as package pin takes them.
func keepOptions(s *config.Settings, log *slog.Logger) pin.Options {
	return pin.Options{
		OnPull: s.PinOnPull == "all", Retain: s.PinRetain, Quota: config.Bytes(s.PinQuota),
		ScrubInterval: s.ScrubInterval, ScrubRate: config.Bytes(s.ScrubRate),
		Key:          s.PolicyKey,
		MaxImageSize: config.Bytes(s.MaxImageSize), Watermark: s.GCWatermark,
		Policy: &pin.Policy{Serve: s.PolicyServe, List: s.PolicyList}, Log: log,
	}
}

// keeper returns who keeps the images that n has or gets.
func keeper(s *config.Settings, n *node.Node, images *image.Resolver, log *slog.Logger) *pin.Keeper {
	return pin.New(images, n, n.Records(), keepOptions(s, log))
}

// keep runs a keeper until stop is called, which waits for its end.
func keep(k *pin.Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// withService does what concerns the images that are kept: by the daemon that
// runs in the repository, else in the repository itself.
func (c *cli) withService(cmd *cobra.Command, online bool, do func(context.Context, pin.Service) error) error {
	s, log, err := c.settings(cmd)
	if err != nil {
		return err
	}
	if s.IPFSAddress != "" {
		return misuse(&image.Error{Op: "run " + cmd.CommandPath(), Err: errors.New("images are kept in a repository of ours, and ipfs-address names another node"),
			Hint: "leave ipfs-address out, or use that node's own pins"})
	}
	n, err := c.open(cmd.Context(), s, log, online)
	if err != nil {
		return err
	}
	defer c.close(n)
	return do(cmd.Context(), c.service(s, n, log))
}

// service is the daemon's where n is the daemon's.
func (c *cli) service(s *config.Settings, n *node.Node, log *slog.Logger) pin.Service {
	if client, ok := n.Daemon(); ok {
		return pin.NewClient(client)
	}
	return keeper(s, n, image.NewResolver(n, n.Datastore(), image.ResolverOptions{Log: log}), log)
}

// keptResult prints what came of an image.
func (c *cli) keptResult(asJSON bool, i *pin.Image) error {
	return c.result(asJSON, i, func(w io.Writer) error {
		return writeImages(w, func(yield func(*pin.Image, error) bool) { yield(i, nil) })
	})
}

// admitted returns the images that policy lets be pulled. What is pinned by a
// daemon only that one knows.
func (c *cli) admitted(ctx context.Context, s *config.Settings, n *node.Node, ref image.Reference, log *slog.Logger) (publish.Images, error) {
	images := image.NewResolver(n, n.Datastore(), image.ResolverOptions{Log: log})
	o := keepOptions(s, log)
	if client, ok := asksDaemon(s, n); ok {
		if _, err := keptOf(client.List(ctx), ref.Path); err != nil {
			return nil, err
		}
		o.Policy = nil // its question is answered; others, such as for a signature, are not
	}
	return pin.New(images, n, n.Records(), o).Guard(images), nil
}

// admitClosure decides whether policy lets all of a closure be handed on.
func (c *cli) admitClosure(ctx context.Context, s *config.Settings, n *node.Node, p image.Path, closure *image.Closure, log *slog.Logger) error {
	o := keepOptions(s, log)
	if client, ok := asksDaemon(s, n); ok {
		i, err := keptOf(client.List(ctx), p)
		if err == nil {
			err = pin.NeedsKept(i, p, closure)
		}
		if err != nil {
			return err
		}
		o.Policy = nil
	}
	return pin.New(image.NewResolver(n, n.Datastore(), image.ResolverOptions{Log: log}), n, n.Records(), o).AdmitClosure(ctx, p, closure)
}

// asksDaemon returns the daemon if policy depends on what only that one knows.
func asksDaemon(s *config.Settings, n *node.Node) (*pin.Client, bool) {
	client, ok := n.Daemon()
	return pin.NewClient(client), ok && s.PolicyServe == pin.ServePinned
}

// keptOf finds the image that is kept of the root of p; the error says that
// there is none.
func keptOf(all iter.Seq2[*pin.Image, error], p image.Path) (*pin.Image, error) {
	for i, err := range all {
		if err != nil || i.State == pin.Kept && i.Root == p.Root {
			return i, err
		}
	}
	return nil, pin.NotPinned(p)
}
