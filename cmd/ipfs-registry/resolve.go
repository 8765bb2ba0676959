package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
)

// resolved is what resolve prints.
type resolved struct {
	Root      string        `json:"root"`
	Form      string        `json:"form"`
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	// Size is that of the manifest, TotalSize that of all it describes; bytes.
	Size      int64    `json:"size"`
	TotalSize int64    `json:"totalSize"`
	Platforms []string `json:"platforms"`
	Tags      []string `json:"tags"`
	Names     []string `json:"names"`
	// ConvertedFrom is what the image was before its layers were converted.
	ConvertedFrom digest.Digest `json:"convertedFrom,omitempty"`
}

func (c *cli) resolveVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resolve REF",
		Short: "Say what a reference is: root CID, form, media type, digest, size, platforms, names to pull it by",
		Args:  arguments("REF"),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "resolve")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := reference(args[0])
		if err != nil {
			return err
		}
		s, log, err := c.settings(cmd)
		if err != nil {
			return err
		}
		n, err := c.openFor(cmd.Context(), s, log, ref)
		if err != nil {
			return err
		}
		defer c.close(n)
		if ref, err = fixed(cmd.Context(), n, ref, log); err != nil {
			return err
		}
		d, err := image.NewResolver(n, n.Datastore(), image.ResolverOptions{Log: log}).Describe(cmd.Context(), ref)
		if err != nil {
			return err
		}
		found := describe(d, ref, s.Listen)
		return c.result(*asJSON, found, found.text)
	}
	return cmd
}

func describe(d *image.Description, ref image.Reference, listen string) resolved {
	r := resolved{
		Root: d.Root.String(), Form: d.Form,
		MediaType: d.Descriptor.MediaType, Digest: d.Descriptor.Digest, Size: d.Descriptor.Size, TotalSize: d.Size,
		Platforms: []string{}, Tags: append([]string{}, d.Tags...), ConvertedFrom: d.ConvertedFrom,
	}
	for _, p := range d.Platforms {
		r.Platforms = append(r.Platforms, platformName(p))
	}
	name := strings.TrimPrefix(ref.Path.String(), "/")
	tagged := ""
	if ref.Tag != "" {
		tagged = ":" + ref.Tag
	}
	host := registryHost(listen)
	r.Names = []string{
		host + "/" + name + tagged,
		host + "/" + name + "@" + d.Descriptor.Digest.String(),
		"ipfs://" + strings.TrimPrefix(name, "ipfs/") + tagged,
	}
	return r
}

// registryHost is how this machine's clients write the registry's address.
func registryHost(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func platformName(p ocispec.Platform) string {
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}

func (r resolved) text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"root", r.Root},
		{"form", r.Form},
		{"media type", r.MediaType},
		{"digest", r.Digest.String()},
		{"converted from", r.ConvertedFrom.String()},
		{"size", fmt.Sprintf("%d bytes, %d in all", r.Size, r.TotalSize)},
		{"platforms", strings.Join(r.Platforms, ", ")},
		{"tags", strings.Join(r.Tags, ", ")},
		{"pull by", r.Names[0]},
		{"", r.Names[1]},
		{"", r.Names[2]},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	return w.Flush()
}
