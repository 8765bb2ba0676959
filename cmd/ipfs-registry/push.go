package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// pushed is what push prints.
type pushed struct {
	CID       string        `json:"cid"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
	Blobs     int           `json:"blobs"`
	Name      string        `json:"name"`
	// Missing are the manifests that an index lists and the source lacks.
	Missing []digest.Digest `json:"missing"`
	// ConvertedFrom is what the image was before its layers were converted.
	ConvertedFrom digest.Digest `json:"convertedFrom,omitempty"`
	// Left are the manifests, such as signatures, about what was converted.
	Left []digest.Digest `json:"left,omitempty"`
}

const sources = `SOURCE is one of
  docker://REF                an image in a registry
  oci:DIR[:TAG]               an OCI image layout
  oci-archive:FILE[:TAG]      the same as a tar file
  docker-archive:FILE[:REF]   what "docker save" writes
  docker-daemon:REF           an image of the Docker engine
  containerd:REF              an image of containerd`

const forms = `FORMAT is one of
  layout    an OCI image layout directory: one CID for the whole image, digests unchanged (the default)
  nerdctl   what "nerdctl push ipfs://" makes: manifests rewritten, many CIDs
  static    a layout that is a static registry besides, of several images if need be; needs --name`

func (c *cli) pushVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push SOURCE | push --layer FILE",
		Short: "Put an image into IPFS; the last line printed is its CID",
		Long:  "Put an image into IPFS, pinned. The last line printed is its CID. A push that was interrupted can be repeated.\n\n" + sources + "\n\n" + forms,
	}
	f := &pushFlags{json: jsonFlag(cmd)}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if f.layer != "" {
			return arguments()(cmd, args)
		}
		return arguments("SOURCE")(cmd, args)
	}
	cmd.Flags().StringVar(&f.format, "format", "layout", "the form on IPFS (`FORMAT`: layout, nerdctl or static)")
	cmd.Flags().StringVar(&f.name, "name", "", "what the image is called in the format static (`NAME:TAG`)")
	cmd.Flags().StringVar(&f.into, "into", "", "add the image to a `CID` that the format static made before; the new CID has both")
	cmd.Flags().BoolVar(&f.schema1, "schema1", false, "add a manifest of Docker's schema 1 as NAME:TAG-schema1 in the format static, for podman, skopeo and Docker to pull from a plain gateway")
	cmd.Flags().StringVar(&f.layer, "layer", "", "push one layer, a tar `FILE`, and the layer manifest by which it is pulled")
	cmd.Flags().StringVar(&f.chunker, "chunker", string(publish.UnixFSv1), "the UnixFS import profile (`PROFILE`: unixfs-v1-2025, or kubo-legacy for the CIDs that nerdctl makes)")
	cmd.Flags().StringArrayVar(&f.platforms, "platform", nil, "only this platform (`OS/ARCH[/VARIANT]`; repeatable; default all that are there)")
	cmd.Flags().BoolVar(&f.estargz, "estargz", false, "convert the layers to eStargz, of which a container reads only what it needs")
	cmd.Flags().BoolVar(&f.zstdChunked, "zstd-chunked", false, "convert the layers to zstd:chunked, which podman reads in parts")
	cmd.Flags().StringVar(&f.first, "estargz-prioritize", "", "lay the files listed in `FILE`, one path a line, where they are fetched before the container starts")
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "reach the source registry by plain HTTP or with an unchecked certificate")
	config.Define(cmd.Flags(), "push")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.layer != "" {
			return c.pushLayer(cmd, f)
		}
		return c.push(cmd, args[0], f)
	}
	return cmd
}

func (c *cli) push(cmd *cobra.Command, source string, f *pushFlags) error {
	platforms, into, err := f.check()
	if err != nil {
		return misuse(err)
	}
	first, err := f.prioritized()
	if err != nil {
		return err
	}
	s, log, err := c.settings(cmd)
	if err != nil {
		return err
	}
	src, err := publish.OpenSource(cmd.Context(), source, publish.SourceOptions{
		Insecure: f.insecure, Platforms: platforms,
		ContainerdAddress: s.ContainerdAddress, Namespace: s.Namespace, DockerHost: s.DockerHost,
	})
	if err != nil {
		return misread(err)
	}
	defer func() { _ = src.Close() }() // only read
	result, err := c.publish(cmd.Context(), s, log, cmp.Or(f.name, source), func(ctx context.Context, n *node.Node, o publish.PushOptions) (publish.Result, error) {
		o.Format, o.Chunker, o.Platforms, o.Name, o.Schema1 = f.format, publish.Chunker(f.chunker), platforms, f.name, f.schema1
		o.Lazy, o.First, o.TempDir = f.lazy(), first, spoolDir(s.Repo)
		if into.Defined() {
			o.Into = &publish.Base{Source: n, Root: into}
		}
		return publish.Push(ctx, src, n, o)
	})
	if err != nil {
		return err
	}
	found := newPushed(result, s.Listen)
	found.warn(log, result.Missed)
	return c.result(*f.json, found, found.text)
}

// warn tells of what is not as it may have been expected.
func (p pushed) warn(log *slog.Logger, missed []string) {
	if len(p.Missing) > 0 {
		log.Warn("the source lacks some of what its index lists; that was left out", "digests", p.Missing)
	}
	if len(p.Left) > 0 {
		log.Warn("signatures and the like are about the image before it was converted, and were left out; sign it anew", "digests", p.Left, "image", p.Digest)
	}
	if len(missed) > 0 {
		log.Warn("no layer that was converted has some of the files to be laid first", "files", missed)
	}
}

// publish pushes into the node. With no daemon the node has no host: what is
// published then is announced when a daemon next serves the repository.
func (c *cli) publish(ctx context.Context, s *config.Settings, log *slog.Logger, name string, push func(context.Context, *node.Node, publish.PushOptions) (publish.Result, error)) (publish.Result, error) {
	n, err := c.open(ctx, s, log, local)
	if err != nil {
		return publish.Result{}, err
	}
	defer c.close(n)
	release, err := n.Hold(ctx)
	if err != nil {
		return publish.Result{}, err
	}
	defer release()
	progress, end := progressTo(c.err)
	defer end()
	result, err := push(ctx, n, publish.PushOptions{Progress: progress})
	if err != nil || s.IPFSAddress != "" {
		return result, err
	}
	// What was pushed is kept as if it had been pinned, by whoever has the ledger.
	_, err = c.service(s, n, log).Add(ctx, pin.Request{
		Path: image.Path{Root: result.Root, Rest: result.Repository}, Name: name, Pushed: true,
	}, nil)
	return result, err
}

func newPushed(r publish.Result, listen string) pushed {
	p := pushed{
		CID: r.Root.String(), Digest: r.Descriptor.Digest, MediaType: r.Descriptor.MediaType,
		Size: r.Size, Blobs: r.Blobs, Name: registryHost(listen) + "/ipfs/" + r.Root.String(), Missing: []digest.Digest{},
		ConvertedFrom: r.ConvertedFrom.Digest,
	}
	if r.Repository != "" {
		p.Name += "/" + r.Repository
	}
	if r.Tag != "" {
		p.Name += ":" + r.Tag
	}
	for _, m := range r.Missing {
		p.Missing = append(p.Missing, m.Digest)
	}
	for _, m := range r.Left {
		p.Left = append(p.Left, m.Digest)
	}
	return p
}

func (p pushed) text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n%s\n", p.Name, p.CID)
	return err
}
