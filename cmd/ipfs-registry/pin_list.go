package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

func (c *cli) pinListVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the images that are kept, and what is missing of those that are incomplete",
		Args:  arguments(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withService(cmd, local, func(ctx context.Context, s pin.Service) error {
			if *asJSON {
				return writeImagesJSON(c.out, s.List(ctx))
			}
			return writeImages(c.out, s.List(ctx))
		})
	}
	return cmd
}

// writeImages writes a table of images.
func writeImages(out io.Writer, all iter.Seq2[*pin.Image, error]) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CID\tSTATE\tKEPT FOR\tBYTES\tMISSING\tLAST PULLED\tVERIFIED\tNAME")
	for i, err := range all {
		if err != nil {
			return err
		}
		why := "pull"
		if i.Explicit {
			why = "name"
		}
		missing := int64(0)
		for _, b := range i.Missing {
			missing += b.Size
		}
		path := i.Root.String()
		if i.Rest != "" {
			path = image.Path{Root: i.Root, Rest: i.Rest}.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", path, i.State, why, i.Size, missing, i.Pulled.Format(time.RFC3339), lastVerified(i), i.Name)
	}
	return w.Flush()
}

// writeImagesJSON writes images as one JSON array, as (*cli).result does, but
// with one of them in memory at a time.
func writeImagesJSON(out io.Writer, all iter.Seq2[*pin.Image, error]) error {
	w := bufio.NewWriter(out)
	before := "["
	for i, err := range all {
		if err != nil {
			return err
		}
		one := &bytes.Buffer{}
		e := json.NewEncoder(one)
		e.SetIndent("  ", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(i); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\n  %s", before, bytes.TrimSuffix(one.Bytes(), []byte("\n")))
		before = ","
	}
	if before == "[" {
		fmt.Fprintln(w, "[]")
	} else {
		fmt.Fprint(w, "\n]\n")
	}
	return w.Flush()
}
