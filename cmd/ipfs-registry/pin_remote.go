package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// maxToken is how many bytes a file with a token may have.
const maxToken = 64 << 10

func (c *cli) pinRemoteVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remote",
		Short: "Let a pinning service keep images, any that speaks the IPFS Pinning Service API",
		RunE:  needsVerb,
	}
	cmd.AddCommand(c.remoteAddVerb(), c.remoteListVerb(), c.remoteRemoveVerb())
	return cmd
}

func (c *cli) remoteAddVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add REF",
		Short: "Have a service pin an image, and wait until it has",
		Long: `Have a service pin an image, and wait until it has. Our addresses are sent along, and the service's own are connected to.
Of a form whose CID does not reach the whole image, every manifest and blob is pinned besides. It can be repeated.`,
		Args: arguments("REF"),
	}
	asJSON := jsonFlag(cmd)
	wait := cmd.Flags().Duration("wait", 10*time.Minute, "how long to wait until all is pinned; 0 not at all (`DURATION`)")
	name := cmd.Flags().String("name", "", "what the service calls the image (`NAME`; default REF)")
	config.Define(cmd.Flags(), "remote")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.withRemote(cmd, args, func(r *remoting) error {
			dags, err := r.dags(cmd.Context(), c.err)
			if err != nil {
				return err
			}
			if *name == "" {
				*name = args[0]
			}
			pins, err := r.handOn(cmd.Context(), dags, *name, *wait, c.err)
			if err != nil {
				return err
			}
			return c.result(*asJSON, pins, func(w io.Writer) error { return writeRemote(w, pins) })
		})
	}
	return cmd
}

func (c *cli) remoteListVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List what the service pins",
		Args:  arguments(),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "remote")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, _, err := c.settings(cmd)
		if err != nil {
			return err
		}
		service, err := pinService(s)
		if err != nil {
			return err
		}
		pins, err := service.List(cmd.Context(), nil)
		if err != nil {
			return err
		}
		if pins == nil {
			pins = []pin.RemotePin{}
		}
		return c.result(*asJSON, pins, func(w io.Writer) error { return writeRemote(w, pins) })
	}
	return cmd
}

func (c *cli) remoteRemoveVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm REF",
		Short: "Let the service let go of an image",
		Long: `Let the service let go of an image. Of a form whose CID does not reach the whole image that is every manifest and blob
that was added with it, also one that an image added later shares: add that one again.`,
		Args: arguments("REF"),
	}
	asJSON := jsonFlag(cmd)
	config.Define(cmd.Flags(), "remote")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.withRemote(cmd, args, func(r *remoting) error {
			dags, err := r.dags(cmd.Context(), io.Discard)
			if err != nil {
				return err
			}
			removed, err := pin.LetGo(cmd.Context(), r.service, dags)
			if err != nil {
				return err
			}
			return c.result(*asJSON, map[string]int{"removed": removed}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d pins ended\n", removed)
				return err
			})
		})
	}
	return cmd
}

// remoting is what a verb does with a service.
type remoting struct {
	path    image.Path
	service *node.PinService
	node    *node.Node
	log     *slog.Logger
}

func (c *cli) withRemote(cmd *cobra.Command, args []string, do func(*remoting) error) error {
	ref, err := reference(args[0])
	if err == nil && (ref.Tag != "" || ref.Digest != "") {
		err = misuse(errors.New("read " + args[0] + ": a service keeps all that is below the CID; leave out the tag and the digest"))
	}
	if err != nil {
		return err
	}
	s, log, err := c.settings(cmd)
	if err != nil {
		return err
	}
	service, err := pinService(s)
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
	return do(&remoting{ref.Path, service, n, log})
}

// pinService is the service that the settings name.
func pinService(s *config.Settings) (*node.PinService, error) {
	if s.PinService == "" {
		return nil, misuse(errors.New("find the pinning service: none is named; give its URL with --service, or as pin.service in the configuration file"))
	}
	token := s.PinServiceToken
	if s.PinServiceTokenFile != "" {
		data, err := readToken(s.PinServiceTokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token of the pinning service: %w; name a file with it by --token-file", err)
		}
		token = data
	}
	return node.NewPinService(s.PinService, token), nil
}

func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	token := strings.TrimSpace(string(data))
	if err == nil && len(data) > maxToken {
		err = fmt.Errorf("%s has more than %d bytes", name, maxToken)
	}
	if err == nil && (token == "" || strings.ContainsAny(token, "\r\n")) {
		err = fmt.Errorf("%s has not one line", name)
	}
	return token, err
}

// dags are those that an image is, and says so if they are many.
func (r *remoting) dags(ctx context.Context, say io.Writer) ([]cid.Cid, error) {
	images := image.NewResolver(r.node, r.node.Datastore(), image.ResolverOptions{Log: r.log})
	found, parts, err := pin.Closure(ctx, images, r.node, r.path, image.Selection{}, false)
	if err != nil {
		return nil, err
	}
	dags := pin.RemoteParts(r.path.Root, parts)
	if len(dags) > 1 {
		fmt.Fprintf(say, "the CID of this form (%s) does not reach the whole image: %d DAGs are pinned one by one; \"push --format layout\" makes an image of one\n", found.Form, len(dags))
	}
	return dags, nil
}

// handOn asks for the DAGs and waits for them.
func (r *remoting) handOn(ctx context.Context, dags []cid.Cid, name string, wait time.Duration, say io.Writer) ([]pin.RemotePin, error) {
	_, origins, err := r.node.ID(ctx)
	if err != nil {
		return nil, err
	}
	pins, err := pin.HandOn(ctx, r.service, dags, name, origins)
	if err != nil || wait <= 0 {
		return pins, err
	}
	r.connect(ctx, pins)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	last := -1
	return pin.Await(ctx, r.service, pins, func(pinned int) {
		if pinned != last {
			fmt.Fprintf(say, "%d of %d pinned\n", pinned, len(pins))
		}
		last = pinned
	})
}

// connect connects to those who will fetch, so that they need not find us. It
// waits for nobody: they may well find us.
func (r *remoting) connect(ctx context.Context, pins []pin.RemotePin) {
	tried := map[string]bool{}
	for _, p := range pins {
		for _, d := range p.Delegates {
			if tried[d] {
				continue
			}
			tried[d] = true
			go func() {
				if err := r.node.Connect(ctx, d); err != nil {
					r.log.Info("no connection to a delegate of the pinning service", "delegate", d, "error", err)
				}
			}()
		}
	}
}

func writeRemote(out io.Writer, pins []pin.RemotePin) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CID\tSTATUS\tREQUEST\tNAME")
	for _, p := range pins {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.CID, p.Status, p.ID, p.Name)
	}
	return w.Flush()
}
