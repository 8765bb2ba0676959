package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/publish"
)

// pulled is what pull prints.
type pulled struct {
	Digest      string `json:"digest"`
	MediaType   string `json:"mediaType"`
	Size        int64  `json:"size"`
	Destination string `json:"destination"`
}

const destinations = `DEST is one of
  oci:DIR[:TAG]               an OCI image layout
  oci-archive:FILE[:TAG]      the same as a tar file
  docker-archive:FILE[:REF]   for "docker load"
  containerd:REF              an image of containerd
  docker://REF                an image in a registry`

func (c *cli) pullVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull REF DEST",
		Short: "Take an image out of IPFS",
		Long:  "Take an image out of IPFS, every byte checked against its digest.\n\n" + destinations,
		Args:  arguments("REF", "DEST"),
	}
	asJSON := jsonFlag(cmd)
	platforms := cmd.Flags().StringArray("platform", nil, "only this platform (`OS/ARCH[/VARIANT]`; repeatable; default all that are there)")
	insecure := cmd.Flags().Bool("insecure", false, "reach the destination registry by plain HTTP or with an unchecked certificate")
	config.Define(cmd.Flags(), "pull")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		found, err := c.pull(cmd, args[0], args[1], *platforms, *insecure)
		if err != nil {
			return err
		}
		return c.result(*asJSON, found, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, found.Digest)
			return err
		})
	}
	return cmd
}

func (c *cli) pull(cmd *cobra.Command, from, to string, platforms []string, insecure bool) (p pulled, err error) {
	ref, err := reference(from)
	if err != nil {
		return p, err
	}
	wanted, err := parsePlatforms(platforms)
	if err != nil {
		return p, misuse(err)
	}
	s, log, err := c.settings(cmd)
	if err != nil {
		return p, err
	}
	dest, err := publish.OpenDestination(cmd.Context(), to, publish.DestinationOptions{
		Insecure: insecure, ContainerdAddress: s.ContainerdAddress, Namespace: s.Namespace,
	})
	if err != nil {
		return p, misread(err)
	}
	defer func() { _ = dest.Close() }() // Pull has made it durable
	n, err := c.openFor(cmd.Context(), s, log, ref)
	if err != nil {
		return p, err
	}
	defer c.close(n)
	if ref, err = fixed(cmd.Context(), n, ref, log); err != nil {
		return p, err
	}
	progress, end := progressTo(c.err)
	defer end()
	images, err := c.admitted(cmd.Context(), s, n, ref, log)
	if err != nil {
		return p, err
	}
	desc, err := publish.Pull(cmd.Context(), images, ref, dest, publish.PullOptions{Platforms: wanted, Progress: progress})
	return pulled{desc.Digest.String(), desc.MediaType, desc.Size, to}, err
}
