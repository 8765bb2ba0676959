package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
)

// The exit statuses.
const (
	done = iota
	failed
	misused
)

// cli is what the verbs share: the world outside, so that a test can be it.
type cli struct {
	environ []string
	out     io.Writer
	err     io.Writer
	// begun tells a verb's own failure from a command line that named no verb
	// or gave it what it does not take.
	begun bool
}

// run is the whole program. args has no program name, environ is as in
// os.Environ; the results go to out, everything else to stderr.
func run(ctx context.Context, args, environ []string, out, stderr io.Writer) int {
	c := &cli{environ: environ, out: out, err: stderr}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return done
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w; what was done so far is kept, run it again", err)
	}
	fmt.Fprintln(stderr, "error: "+oneLine(err))
	if c.wasMisused(err) {
		return misused
	}
	return failed
}

// root is the command line: the verbs and what they all take.
func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "ipfs-registry",
		Short:         "Serve OCI images by their CID, from IPFS",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          needsVerb,
		PersistentPreRun: func(*cobra.Command, []string) {
			c.begun = true
		},
	}
	root.SetOut(c.out)
	root.SetErr(c.err)
	config.DefineGlobal(root.PersistentFlags())
	root.AddCommand(c.serveVerb(), c.pushVerb(), c.pullVerb(), c.resolveVerb(), c.pinVerb(), c.gcVerb(), c.exportVerb(), c.importVerb(), c.swarmVerb(), c.idVerb(),
		c.cidVerb(), c.publishVerb(), c.configVerb(), c.versionVerb(), c.doctorVerb())
	return root
}

// needsVerb is what a command does that is only a group of verbs.
func needsVerb(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse(fmt.Errorf("unknown command %q for %q; see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath()))
	}
	var verbs []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			verbs = append(verbs, sub.Name())
		}
	}
	return misuse(fmt.Errorf("run %s: no verb given; give one of %s, or --help", cmd.CommandPath(), strings.Join(verbs, ", ")))
}

// misuseError is a failure whose remedy is another command line or setting.
type misuseError struct{ error }

func (e misuseError) Unwrap() error { return e.error }

func misuse(err error) error {
	if err == nil {
		return nil
	}
	return misuseError{err}
}

func (c *cli) wasMisused(err error) bool {
	var e misuseError
	return !c.begun || errors.As(err, &e)
}

// oneLine keeps "the last line of stderr says what failed" true of errors that
// have several lines.
func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
}

// settings loads what the verb runs with, and the logger for it.
func (c *cli) settings(cmd *cobra.Command) (*config.Settings, *slog.Logger, error) {
	s, err := config.Load(cmd.Flags(), c.environ)
	if err != nil {
		return nil, nil, misuse(err)
	}
	log := c.logger(s, cmd.Name() == "serve")
	node.RouteLogs(log)
	return s, log, nil
}

// logger writes to stderr. A verb that is not the daemon says only what is
// wrong, unless told otherwise.
func (c *cli) logger(s *config.Settings, daemon bool) *slog.Logger {
	level := slog.LevelInfo
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	if !daemon && s.Origin("log-level") == "default" {
		level = slog.LevelWarn
	}
	o := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(c.err, o))
	}
	return slog.New(slog.NewTextHandler(c.err, o))
}

// result prints what a verb found, as JSON where that was asked for.
func (c *cli) result(asJSON bool, v any, text func(io.Writer) error) error {
	if !asJSON {
		return text(c.out)
	}
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// jsonFlag adds --json to a verb that prints a result.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print the result as JSON")
}

// misread is misuse where err says that an argument is not of any form it could
// have, and err otherwise.
func misread(err error) error {
	if image.ClassOf(err) == image.Malformed {
		return misuse(err)
	}
	return err
}

// reference reads an argument that names an image.
func reference(arg string) (image.Reference, error) {
	ref, err := image.ParseReference(arg)
	return ref, misuse(err)
}

// lasting is reference for what is kept under its CID, perhaps by a daemon, whose
// gateways are its own: nothing that leads elsewhere tomorrow, and no gateway.
func lasting(arg string) (image.Reference, error) {
	ref, err := reference(arg)
	refused := &image.Error{Op: fmt.Sprintf("read the reference %q", arg)}
	switch {
	case err != nil:
		return ref, err
	case ref.Moving.Name != "":
		refused.Err, refused.Hint = errors.New("it can lead elsewhere tomorrow"), "resolve it first: ipfs-registry resolve "+arg
	case ref.Gateway != "":
		refused.Err = errors.New("no gateway is asked here but those of the settings")
		refused.Hint = "give " + strings.TrimPrefix(arg, ref.Gateway) + ", and name the gateway in the settings if need be"
	default:
		return ref, nil
	}
	return ref, misuse(refused)
}

// arguments wants exactly the named ones.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("run %s: no %s given; usage: %s", cmd.CommandPath(), names[len(args)], cmd.UseLine())
		case len(args) > len(names):
			return fmt.Errorf("run %s: %q is one argument too many; usage: %s", cmd.CommandPath(), args[len(names)], cmd.UseLine())
		}
		return nil
	}
}
