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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one kills, as if nobody listened.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
