package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildFacts is what the toolchain recorded of this build.
type buildFacts struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Kubo     string `json:"kubo"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (c *cli) versionVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the Kubo in it",
		Args:  arguments(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		v := readBuild()
		return c.result(*asJSON, v, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "ipfs-registry %s\nkubo %s\n%s %s\n", v.Version, v.Kubo, v.Go, v.Platform)
			return err
		})
	}
	return cmd
}

func readBuild() buildFacts {
	v := buildFacts{Version: "unknown", Kubo: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/ipfs/kubo" {
			v.Kubo = m.Version
		}
	}
	return v
}
