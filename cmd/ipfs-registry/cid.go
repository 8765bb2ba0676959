package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/image"
)

func (c *cli) cidVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cid CID",
		Short:   "Write any CID as the lower-case CIDv1 that image references allow",
		Args:    arguments("CID"),
		Example: "ipfs-registry cid QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		ref, err := reference(args[0])
		if err == nil && ref != (image.Reference{Path: image.Path{Root: ref.Path.Root}}) {
			err = misuse(fmt.Errorf("read the CID %q: %w; give the CID alone", args[0], errors.New("more follows the CID")))
		}
		if err != nil {
			return err
		}
		found := map[string]string{"cid": ref.Path.Root.String()}
		return c.result(*asJSON, found, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, found["cid"])
			return err
		})
	}
	return cmd
}
