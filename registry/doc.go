// Package registry is the read side of the OCI distribution specification over
// HTTP: a URL becomes a question to [Images], the answer becomes a response, and
// an error becomes a status in one place.
//
// It knows nothing of IPFS beyond parsing a CID in a path, and it cannot write:
// Images has no method for it.
package registry
