package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// moved is what export and import print.
type moved struct {
	Roots  []string `json:"roots"`
	Blocks int64    `json:"blocks"`
	Bytes  int64    `json:"bytes"`
}

func newMoved(m node.Moved) moved {
	out := moved{Blocks: m.Blocks, Bytes: m.Bytes}
	for _, c := range m.Roots {
		out.Roots = append(out.Roots, c.String())
	}
	return out
}

func (m moved) text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n", m.Roots[0])
	return err
}

func (c *cli) exportVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export REF FILE.car",
		Short: "Write all the blocks of an image into a CAR file, for a host without a network",
		Long: `Write all the blocks of an image, whatever its form, into a CAR file (version 1), each once and compared with its CID.
FILE.car appears when it is whole. With - it goes to stdout. "import", and "ipfs dag import" too, reads it.`,
		Args: arguments("REF", "FILE.car"),
	}
	asJSON := jsonFlag(cmd)
	platforms := cmd.Flags().StringArray("platform", nil, "only this platform (`OS/ARCH[/VARIANT]`; repeatable; default all that are there)")
	config.Define(cmd.Flags(), "pin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := reference(args[0])
		if err == nil && (ref.Tag != "" || ref.Digest != "") {
			err = misuse(errors.New("read " + args[0] + ": all that is below the CID is exported; leave out the tag and the digest"))
		}
		if err != nil {
			return err
		}
		m, err := c.export(cmd, ref, args[1], *platforms)
		if err != nil || args[1] == "-" {
			return err
		}
		return c.result(*asJSON, m, m.text)
	}
	return cmd
}

func (c *cli) export(cmd *cobra.Command, ref image.Reference, file string, platforms []string) (m moved, err error) {
	wanted, err := parsePlatforms(platforms)
	if err != nil {
		return m, misuse(err)
	}
	s, log, err := c.settings(cmd)
	if err != nil {
		return m, err
	}
	n, err := c.openFor(cmd.Context(), s, log, ref)
	if err != nil {
		return m, err
	}
	defer c.close(n)
	if ref, err = fixed(cmd.Context(), n, ref, log); err != nil {
		return m, err
	}
	p := ref.Path
	images := image.NewResolver(n, n.Datastore(), image.ResolverOptions{Log: log})
	closure, parts, err := pin.Closure(cmd.Context(), images, n, p, image.Selection{Platforms: wanted}, false)
	if err == nil {
		err = c.admitClosure(cmd.Context(), s, n, p, closure, log)
	}
	if err != nil {
		return m, err
	}
	var out node.Moved
	write := func(w io.Writer) error {
		buffered := bufio.NewWriterSize(w, 1<<20)
		if out, err = n.Export(cmd.Context(), buffered, carRoots(p.Root, parts), parts); err != nil {
			return err
		}
		return buffered.Flush()
	}
	if file == "-" {
		err = write(c.out)
	} else {
		err = publish.WriteFile(file, write)
	}
	return newMoved(out), err
}

// carRoots are the roots of a CAR with an image: its own, and those of the DAGs
// that it does not reach by links.
func carRoots(root cid.Cid, parts []pin.Part) []cid.Cid {
	roots := []cid.Cid{root}
	for _, p := range parts {
		if p.Mode == pin.Recursive && p.CID != root {
			roots = append(roots, p.CID)
		}
	}
	return roots
}

func (c *cli) importVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE.car",
		Short: "Take the image of a CAR file in, and keep it; the last line printed is its CID",
		Long: `Take the blocks of a CAR file (version 1 or 2) in, each compared with its CID, and keep the image at its first root.
With - it comes from stdin. What is missing from the file is fetched, if there is a network.`,
		Args: arguments("FILE.car"),
	}
	asJSON := jsonFlag(cmd)
	r := &pin.Request{}
	cmd.Flags().StringArrayVar(&r.Platforms, "platform", nil, "keep only this platform, as it was exported (`OS/ARCH[/VARIANT]`; repeatable)")
	cmd.Flags().StringVar(&r.Name, "name", "", "what to call the image in lists (`NAME`; default FILE.car)")
	cmd.Flags().StringVar(&r.Path.Rest, "path", "", "where the image is below the root (`PATH`), as in a static registry")
	config.Define(cmd.Flags(), "pin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := parsePlatforms(r.Platforms); err != nil {
			return misuse(err)
		}
		if r.Name == "" {
			r.Name = args[0]
		}
		m, err := c.importCAR(cmd, args[0], *r)
		if err != nil {
			return err
		}
		return c.result(*asJSON, m, m.text)
	}
	return cmd
}

func (c *cli) importCAR(cmd *cobra.Command, file string, r pin.Request) (m moved, err error) {
	in := io.NopCloser(cmd.InOrStdin())
	if file != "-" {
		if in, err = os.Open(file); err != nil {
			return m, fmt.Errorf("import: %w", err)
		}
	}
	defer in.Close()
	s, log, err := c.settings(cmd)
	if err != nil {
		return m, err
	}
	n, err := c.open(cmd.Context(), s, log, local)
	if err != nil {
		return m, err
	}
	defer c.close(n)
	release, err := n.Hold(cmd.Context())
	if err != nil {
		return m, err
	}
	defer release()
	got, err := n.Import(cmd.Context(), in)
	if err != nil {
		return m, err
	}
	r.Path.Root = got.Roots[0]
	if s.IPFSAddress != "" {
		err = n.Publish(cmd.Context(), r.Name, got.Roots[0], got.Roots[1:])
	} else {
		err = c.keepImported(cmd.Context(), c.service(s, n, log), r)
	}
	return newMoved(got), err
}

// keepImported keeps an image and compares its blobs with their digests: the
// blocks alone have been compared with theirs.
func (c *cli) keepImported(ctx context.Context, service pin.Service, r pin.Request) error {
	told, end := fetchProgress(c.err)
	defer end()
	if _, err := service.Add(ctx, r, told); err != nil {
		return err
	}
	all, err := service.Verify(ctx, pin.VerifyRequest{Path: &r.Path, Workers: 1}, nil)
	if err == nil {
		err = pin.Unsound(all)
	}
	if image.ClassOf(err) == image.Corrupt {
		err = errors.Join(err, service.Remove(ctx, r.Path))
	}
	return err
}
