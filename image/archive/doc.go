// Package archive reads the tar files in which images are kept, where they lie:
// nothing is unpacked, so no name in one can lead anywhere.
//
// An [Index] says where each entry is. A [DockerImage] is an image as "docker
// save" lists it; the OCI manifest that it lacks is made here, the same for
// whoever reads it.
package archive
