package node

import (
	"os"
	"testing"
)

// TestMain runs the tests, or what a test needs another process for.
func TestMain(m *testing.M) {
	for env, run := range map[string]func(string) error{
		ownerEnv: holdRepository, networkEnv: runInNetwork, publishEnv: publishAndDie,
	} {
		value := os.Getenv(env)
		if value == "" {
			continue
		}
		if err := run(value); err != nil {
			panic(err) // to the test that started this process
		}
		return
	}
	m.Run() // the exit status is seen to when TestMain returns
}
