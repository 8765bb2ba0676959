package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ipfs-registry/ipfs-registry/node"
)

func (c *cli) swarmKeyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Print the key of the repository's private swarm, made if there is none",
		Long: `Print the key of the repository's private swarm. If the repository has none, one is made and stored there first.
Every node of the swarm needs the same: store what is printed as REPO/swarm.key on each of them, mode 0600, and run serve --private.`,
		Args:    arguments(),
		Example: "ipfs-registry swarm key | ssh worker 'umask 077; cat > /var/lib/ipfs-registry/swarm.key'",
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, _, err := c.settings(cmd)
		if err != nil {
			return err
		}
		key, made, err := swarmKey(s.Repo)
		if err != nil {
			return err
		}
		path := filepath.Join(s.Repo, "swarm.key")
		if made {
			fmt.Fprintf(c.err, "made %s: this node now talks only to nodes with the same key\n", path)
		}
		return c.result(*asJSON, map[string]any{"key": key, "path": path, "made": made}, func(w io.Writer) error {
			_, err := io.WriteString(w, key)
			return err
		})
	}
	return cmd
}

// swarmKey returns the key in the repository and whether it had to be made.
func swarmKey(repoPath string) (key string, made bool, err error) {
	path := filepath.Join(repoPath, "swarm.key")
	// An empty file is what the shell makes of "swarm key > REPO/swarm.key".
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		if err := os.Remove(path); err != nil {
			return "", false, fmt.Errorf("replace the empty swarm key: %w", err)
		}
	}
	err = node.WriteSwarmKey(repoPath)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", false, err
	}
	data, readErr := os.ReadFile(path)
	if readErr != nil {
		return "", false, fmt.Errorf("read the swarm key: %w; run this as the user that the repository belongs to", readErr)
	}
	return string(data), err == nil, nil
}
