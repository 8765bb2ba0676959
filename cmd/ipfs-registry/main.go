// Command ipfs-registry serves OCI images by their CID, from an IPFS node of
// its own, as a read-only OCI registry.
//
// This package only wires: one file per verb, and what the verbs share in
// cli.go. Whatever a test would want to reach without a process is elsewhere.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	// The certificate authorities for where there are none, as in our own
	// container image; those of the machine go first.
	_ "golang.org/x/crypto/x509roots/fallback"
)

func main() {
	os.Exit(run(untilSignal(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// untilSignal returns a context that the first signal ends. By then nobody
// listens any more, so the next signal kills.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	return ctx
}
