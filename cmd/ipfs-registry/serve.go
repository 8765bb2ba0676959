package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/config"
	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/node"
	"github.com/ipfs-registry/ipfs-registry/pin"
	"github.com/ipfs-registry/ipfs-registry/registry"
)

func (c *cli) serveVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: the IPFS node and the registry in front of it",
		Long: `Run the daemon: the IPFS node and the registry in front of it. An image is pulled by the name localhost:5050/ipfs/CID.
The first SIGTERM or SIGINT lets requests in flight end, the second ends at once.`,
		Args: arguments(),
	}
	config.Define(cmd.Flags(), "serve")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, log, err := c.settings(cmd)
		if err != nil {
			return err
		}
		return serve(cmd.Context(), s, log)
	}
	return cmd
}

// serve runs the daemon until ctx ends. The admin pages answer from the first
// moment; the registry's clients wait until the node is there.
func serve(ctx context.Context, s *config.Settings, log *slog.Logger) error {
	if s.PolicyKey != "" {
		if err := pin.CheckKeys(s.PolicyKey); err != nil {
			return err
		}
	}
	open, err := openDoors(ctx, s)
	if err != nil {
		return blame(ctx, s, log, err)
	}
	defer open.close()
	var ready atomic.Pointer[node.Node]
	metrics := prometheus.NewRegistry()
	d := newDaemon()
	admin := registry.NewAdmin(readiness(&ready), prometheus.Gatherers{metrics, prometheus.DefaultGatherer})
	d.serve(registry.NewServer(admin, log), open.admin...)

	n, err := start(ctx, s, log, metrics, d.diskFull)
	if err != nil {
		d.drain(0)
		return err
	}
	if err = d.expose(s, n, open, metrics, log); err == nil {
		ready.Store(n)
		announce(log, s, open)
		err = d.wait(ctx)
	}
	return errors.Join(err, d.stop(n, log))
}

// blame finds the most likely reason why an address is taken.
func blame(ctx context.Context, s *config.Settings, log *slog.Logger, err error) error {
	if s.IPFSAddress != "" || !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	n, dialErr := node.Dial(ctx, s.Repo, nodeOptions(s, log))
	if dialErr != nil {
		return err
	}
	_ = n.Close() // only looked at
	return fmt.Errorf("start a daemon in %s: one runs there already (%w); use it, or give this one a --repo of its own", s.Repo, err)
}

// readiness says what the daemon waits for.
func readiness(n *atomic.Pointer[node.Node]) func(context.Context) error {
	return func(ctx context.Context) error {
		if n := n.Load(); n != nil {
			return n.Ready(ctx)
		}
		return errors.New("the IPFS node is starting")
	}
}

// start returns the node that the daemon serves from.
func start(ctx context.Context, s *config.Settings, log *slog.Logger, metrics prometheus.Registerer, diskFull func()) (*node.Node, error) {
	o := nodeOptions(s, log)
	o.Metrics, o.DiskFull = metrics, diskFull
	if s.IPFSAddress != "" {
		return node.Attach(ctx, s.IPFSAddress, o)
	}
	return node.Open(ctx, o)
}

// headGrace lets a HEAD for which nothing arrives say so in the words of the node.
const headGrace = 500 * time.Millisecond

// expose serves the node to its clients.
func (d *daemon) expose(s *config.Settings, n *node.Node, open *doors, metrics prometheus.Registerer, log *slog.Logger) error {
	images := image.NewResolver(n, n.Datastore(), image.ResolverOptions{Log: log})
	names, err := mirrorNames(s)
	if err != nil {
		return misuse(err)
	}
	here := image.NewResolver(n.Here(), n.Datastore(), image.ResolverOptions{Log: log})
	keeper := keeper(s, n, images, log)
	for _, collector := range keeper.Metrics() {
		if err := metrics.Register(collector); err != nil {
			return fmt.Errorf("register the metrics of what is kept: %w", err)
		}
	}
	guard := keeper.Guard(images)
	handler := registry.New(guard, registry.Options{Log: log, Metrics: metrics,
		Names:     image.NewNames(n, n.Datastore(), log),
		Mirror:    &registry.Mirror{Kept: image.NewKept(image.Keepers{n, keeper.Ledger()}, here, log), Here: keeper.Guard(here), Names: names},
		HeadLimit: s.FetchTimeout + headGrace,
	})
	d.serve(registry.NewServer(handler, log), bound(open.registry)...)
	if len(open.api) > 0 {
		if err := n.WriteAPIFile(open.api[0].Addr()); err != nil {
			return err
		}
		d.serve(registry.NewServer(n.APIHandler(guard.AdmitFile), log), bound(open.api)...)
	}
	if s.IPFSAddress != "" {
		return nil // verbs reach that node the same way as we do
	}
	control, err := n.ListenControl()
	if err != nil {
		return err
	}
	d.keep(keeper)
	mux := http.NewServeMux()
	mux.Handle(pin.RPCPrefix, pin.Handler(keeper))
	mux.Handle("/", n.ControlHandler())
	d.serve(registry.NewServer(mux, log), control)
	return nil
}

// mirrorNames reads the setting mirror.names.
func mirrorNames(s *config.Settings) (map[string]image.Reference, error) {
	all := map[string]image.Reference{}
	for _, m := range s.MirrorNames {
		name, arg, _ := strings.Cut(m, "=")
		ref, err := image.ParseReference(arg)
		if err == nil && ref.Gateway != "" {
			err = errors.New("a gateway is named with --gateway")
		}
		if err != nil {
			return nil, fmt.Errorf("read the setting mirror.names for %s: %w", name, err)
		}
		all[name] = ref
	}
	return all, nil
}

func bound(ls []net.Listener) []net.Listener {
	all := make([]net.Listener, len(ls))
	for i, l := range ls {
		all[i] = registry.Bound(l)
	}
	return all
}

// announce tells systemd and the log that the daemon serves.
func announce(log *slog.Logger, s *config.Settings, open *doors) {
	warnReachable(log, "listen", open.registry)
	warnReachable(log, "admin", open.admin)
	warnReachable(log, "api", open.api)
	log.Info("serving", "registry", addresses(open.registry), "admin", addresses(open.admin), "api", addresses(open.api), "repository", s.Repo)
	notify(log, sd.SdNotifyReady+"\nSTATUS="+fmt.Sprintf("serving on %v", addresses(open.registry)))
}

// stop ends what serve began, within seconds.
func (d *daemon) stop(n *node.Node, log *slog.Logger) error {
	notify(log, sd.SdNotifyStopping+"\nSTATUS=letting requests in flight end")
	began := time.Now()
	log.Info("stopping", "within", drainLimit)
	if cut := d.drain(drainLimit); cut > 0 {
		log.Warn("cut off requests that were still in flight", "after", time.Since(began))
	}
	d.endKeeping()
	if err := n.Close(); err != nil {
		return fmt.Errorf("close the IPFS node: %w", err)
	}
	log.Info("stopped", "after", time.Since(began))
	return nil
}

// notify tells systemd, if it started us.
func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("tell systemd", "state", state, "error", err)
	}
}
