package publish

import (
	"context"
	"io"

	"github.com/ipfs/go-cid"
)

// Chunker is the name of a UnixFS import profile.
type Chunker string

// The profiles that a Sink knows.
const (
	// UnixFSv1 is IPIP-499's unixfs-v1-2025: CIDv1, raw leaves, 1 MiB chunks,
	// 1024 links a node. The default.
	UnixFSv1 Chunker = "unixfs-v1-2025"
	// KuboLegacy is what "ipfs add --cid-version 1" makes with Kubo's old
	// defaults: CIDv1, raw leaves, 256 KiB chunks, 174 links a node.
	KuboLegacy Chunker = "kubo-legacy"
)

// Sink is what publishing needs of the node, and no more.
//
// Blocks are written as they are made, so memory does not grow with the
// content. Adding what is there already is harmless and cheap.
type Sink interface {
	// AddFile stores the bytes of r as one UnixFS file. It reads r to its end
	// and fails, keeping nothing, when r fails.
	AddFile(ctx context.Context, r io.Reader, chunker Chunker) (cid.Cid, error)
	// AddDir stores a UnixFS directory tree. entries maps slash-separated
	// relative names to content that AddFile or AddDir returned. The same
	// entries make the same CID on any machine.
	AddDir(ctx context.Context, entries map[string]cid.Cid, chunker Chunker) (cid.Cid, error)
	// Publish makes root and parts durable: synced to disk, pinned
	// recursively under name, and announced as the node's settings say. What
	// was acknowledged survives a crash. parts are the roots of the DAGs that
	// belong to root and that its links do not reach; often none.
	Publish(ctx context.Context, name string, root cid.Cid, parts []cid.Cid) error
}
