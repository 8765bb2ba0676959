// Package image says what an OCI image on IPFS is.
//
// A root CID becomes manifests, blobs, referrers and tags: a [Resolver] opens
// the root through a [Source], recognises which on-IPFS form it is and answers
// from that form. One layout_*.go file holds one form.
//
// Two proofs bind every byte served. The CID proves what IPFS delivered; that
// is the Source's duty. The digest proves that the descriptor told the truth;
// that is this package's duty, see [Content].
//
// The package knows nothing of HTTP, of Kubo or of libp2p.
package image
