// Package pin keeps images: it knows which images this host is to have, for how
// long, and which blocks that means.
//
// An image that is kept is its closure: every block of every manifest, config,
// layer and referrer of the platforms chosen, whatever form the image has. The
// [Ledger] says which images those are; it changes in transactions, and an
// image is either kept whole or listed as incomplete. Blocks are held by the
// node's own pins, through [Pinset], so that its other tools respect them.
//
// The package asks about images through package image and about blocks through
// the interfaces it declares. It knows no HTTP registry and no Kubo.
package pin
