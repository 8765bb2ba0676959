package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// maxWorkers is how many blocks are hashed at a time unless told otherwise.
const maxWorkers = 4

func (c *cli) pinVerifyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify REF | verify --all",
		Short: "Read every block of an image and compare it with its CID, and every blob with its digest",
		Long: `Read every block of an image and compare it with its CID, and every blob with its digest. What is damaged or missing
is retrieved again. The exit status is 1 if something could not be.`,
	}
	asJSON := jsonFlag(cmd)
	all := cmd.Flags().Bool("all", false, "all images that are kept; what they share is read once")
	workers := cmd.Flags().Int("workers", min(maxWorkers, runtime.GOMAXPROCS(0)), "how many blocks are hashed at a time (`N`)")
	rate := cmd.Flags().String("rate", "0", "how many bytes are read in a second at most, past the system's own memory; 0 means any number (`SIZE`)")
	config.Define(cmd.Flags(), "pin")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if *all {
			return arguments()(cmd, args)
		}
		return arguments("REF")(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := verifyRequest(args, *workers, *rate)
		if err != nil {
			return misuse(err)
		}
		return c.withService(cmd, networked, func(ctx context.Context, s pin.Service) error {
			return c.pinVerify(ctx, s, r, *asJSON)
		})
	}
	return cmd
}

func verifyRequest(args []string, workers int, rate string) (pin.VerifyRequest, error) {
	r := pin.VerifyRequest{Workers: workers}
	if workers < 1 {
		return r, fmt.Errorf("read --workers %d: at least one has to work", workers)
	}
	if !config.IsSize(rate) {
		return r, fmt.Errorf("read --rate %q: it is no size in bytes", rate)
	}
	r.Rate = config.Bytes(rate)
	if len(args) == 0 {
		return r, nil
	}
	ref, err := lasting(args[0])
	if err == nil && (ref.Tag != "" || ref.Digest != "") {
		err = errors.New("read " + args[0] + ": an image is verified as a whole; leave out the tag and the digest")
	}
	r.Path = &ref.Path
	return r, err
}

func (c *cli) pinVerify(ctx context.Context, s pin.Service, r pin.VerifyRequest, asJSON bool) error {
	told := func(v pin.Verified) {
		if !v.Sound() {
			fmt.Fprintf(c.err, "%s: %s\n", v.Path, v.Problem)
		}
	}
	all, err := s.Verify(ctx, r, told)
	if err != nil {
		return err
	}
	if err := c.result(asJSON, all, func(w io.Writer) error { return writeVerified(w, all) }); err != nil {
		return err
	}
	return pin.Unsound(all)
}

func writeVerified(out io.Writer, all []pin.Verified) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tRESULT\tBLOCKS\tBYTES\tDAMAGED\tREPAIRED\tNAME")
	for _, v := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", v.Path, soundness(v.Check), v.Blocks, v.Bytes, v.Damaged, v.Repaired, v.Name)
	}
	return w.Flush()
}

func soundness(check pin.Check) string {
	switch {
	case check.Problem != "":
		return "damaged"
	case check.Damaged > 0:
		return "repaired"
	}
	return "sound"
}

// lastVerified says what came of an image's last verification, and when it was.
func lastVerified(i *pin.Image) string {
	if i.Checked == nil {
		return "never"
	}
	return soundness(*i.Checked) + " " + i.Checked.When.Format(time.RFC3339)
}
