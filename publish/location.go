package publish

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// kind is where an image is or goes to, as its prefix.
type kind string

const (
	kindRegistry      kind = "docker://"
	kindLayout        kind = "oci:"
	kindLayoutArchive kind = "oci-archive:"
	kindDockerArchive kind = "docker-archive:"
	kindDockerDaemon  kind = "docker-daemon:"
	kindContainerd    kind = "containerd:"
)

// maxLocation is longer than any path and any reference, in bytes.
const maxLocation = 8192

// location is a source or destination as a person writes it, taken apart.
type location struct {
	text string
	kind kind
	path string // of a directory or file
	ref  string // the tag or reference; may be empty where there is a path
}

// parseLocation takes text apart.
func parseLocation(text string) (location, error) {
	if len(text) > maxLocation {
		return location{}, fmt.Errorf("it is longer than %d bytes", maxLocation)
	}
	for _, k := range []kind{kindRegistry, kindLayout, kindLayoutArchive, kindDockerArchive, kindDockerDaemon, kindContainerd} {
		if rest, ok := strings.CutPrefix(text, string(k)); ok {
			return parseRest(location{text: text, kind: k}, rest)
		}
	}
	return location{}, errors.New("it has no prefix that is known")
}

func parseRest(l location, rest string) (location, error) {
	if strings.ContainsRune(rest, 0) {
		return l, errors.New("it contains a zero byte")
	}
	switch l.kind {
	case kindRegistry, kindDockerDaemon:
		if _, err := reference.ParseAnyReference(rest); err != nil {
			return l, fmt.Errorf("%s is no image reference: %w", quote(rest), err)
		}
		l.ref = rest
	case kindContainerd:
		l.ref = rest
	default:
		l.path, l.ref, _ = strings.Cut(rest, ":")
		if l.path == "" {
			return l, errors.New("it names no path")
		}
	}
	if l.path == "" && l.ref == "" {
		return l, errors.New("it names no image")
	}
	return l, nil
}

// normalize reads ref as Docker and nerdctl do: "alpine" is
// docker.io/library/alpine:latest.
func normalize(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, fmt.Errorf("%s is no image reference: %w", quote(ref), err)
	}
	return reference.TagNameOnly(named), nil
}

// tagOf returns the tag of a reference or nothing.
func tagOf(ref reference.Reference) string {
	if tagged, ok := ref.(reference.Tagged); ok {
		return tagged.Tag()
	}
	return ""
}
