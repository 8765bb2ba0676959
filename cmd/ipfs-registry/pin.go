package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/cheggaaa/pb/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

func (c *cli) pinVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin",
		Short: "Keep images: every block of every manifest, config and layer, whatever the form",
		RunE:  needsVerb,
	}
	cmd.AddCommand(c.pinAddVerb(), c.pinListVerb(), c.pinRemoveVerb(), c.pinVerifyVerb(), c.pinRemoteVerb())
	return cmd
}

func (c *cli) pinAddVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add REF",
		Short: "Fetch an image and keep it",
		Long: `Fetch an image and keep it, all that is below REF or, with a tag, a digest or --platform, a part of that.
What an interruption leaves is listed as incomplete, and the daemon goes on with it by itself.`,
		Args: arguments("REF"),
	}
	asJSON := jsonFlag(cmd)
	platforms := cmd.Flags().StringArray("platform", nil, "only this platform (`OS/ARCH[/VARIANT]`; repeatable; default all that are there)")
	name := cmd.Flags().String("name", "", "what to call the image in lists (`NAME`; default REF)")
	config.Define(cmd.Flags(), "pin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := lasting(args[0])
		if err != nil {
			return err
		}
		if _, err := parsePlatforms(*platforms); err != nil {
			return misuse(err)
		}
		r := pin.Request{Path: ref.Path, Platforms: *platforms, Name: *name}
		if ref.Tag != "" || ref.Digest != "" {
			r.Ref = ref.Ref()
		}
		if r.Name == "" {
			r.Name = args[0]
		}
		return c.withService(cmd, networked, func(ctx context.Context, s pin.Service) error {
			told, end := fetchProgress(c.err)
			i, err := s.Add(ctx, r, told)
			end()
			if err != nil {
				return err
			}
			return c.keptResult(*asJSON, i)
		})
	}
	return cmd
}

func (c *cli) pinRemoveVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm REF",
		Short: "Let go of an image; what no other needs is removed by the next garbage collection",
		Args:  arguments("REF"),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := lasting(args[0])
		if err != nil {
			return err
		}
		return c.withService(cmd, local, func(ctx context.Context, s pin.Service) error {
			if err := s.Remove(ctx, ref.Path); err != nil {
				return err
			}
			removed := map[string]string{"removed": ref.Path.String()}
			return c.result(*asJSON, removed, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, removed["removed"])
				return err
			})
		})
	}
	return cmd
}

func (c *cli) gcVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove the blocks that nothing needs",
		Long: `Remove the blocks that nothing needs: no image that is kept or incomplete, no pin of the "ipfs" command, no file of
its "ipfs files", and no request in flight. Requests are answered meanwhile.`,
		Args: arguments(),
	}
	asJSON := jsonFlag(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "remove nothing, and say what would be")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withService(cmd, local, func(ctx context.Context, s pin.Service) error {
			freed, err := s.Collect(ctx, *dry)
			if err != nil {
				return err
			}
			return c.result(*asJSON, freed, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d blocks, %d bytes; %d blocks stay\n", freed.Blocks, freed.Bytes, freed.Kept)
				return err
			})
		})
	}
	return cmd
}

// fetchProgress draws how far a fetch is on w, with its rate and the time that
// remains, until end; nothing when w is no terminal.
func fetchProgress(w io.Writer) (told func(pin.Progress), end func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	bar := pb.New64(0).SetWriter(w).Set(pb.Bytes, true).SetTemplate(pb.Full)
	bar.Start()
	return func(p pin.Progress) {
		bar.SetTotal(p.Total).SetCurrent(p.Done).Set("prefix", fmt.Sprintf("%d of %d blobs ", p.BlobsDone, p.Blobs))
	}, func() { bar.Finish() }
}
