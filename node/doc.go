// Package node is the IPFS node: an embedded Kubo node in its own repository,
// or a running Kubo behind its RPC.
//
// It stores blocks, opens and retrieves content, pins, and keeps the swarm, the
// private one included. It is the only package that knows Kubo and libp2p, and
// it knows nothing of images: no manifest, no layer, no tag.
package node
