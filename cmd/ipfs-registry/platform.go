package main

import (
	"fmt"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parsePlatforms reads the values of --platform.
func parsePlatforms(names []string) ([]ocispec.Platform, error) {
	var found []ocispec.Platform
	for _, name := range names {
		p, err := platforms.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("read --platform %q: %w; write OS/ARCH[/VARIANT], such as linux/arm64", name, err)
		}
		found = append(found, platforms.Normalize(p))
	}
	return found, nil
}
