// Package publish turns an image, from where it is, into a DAG in the node.
//
// A source is a registry, an OCI layout, an archive, a containerd or a Docker
// image; a format is the shape that the image takes on IPFS. The same sources
// read backwards are the destinations of a pull.
package publish
