package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// maxPrioritized is how many bytes a list of files may have.
	maxPrioritized = 16 << 20
	// maxFirst is how many files may be laid first: each is looked for in each
	// layer.
	maxFirst = 1 << 16
)

// ReadPrioritized reads a list of files, one a line, in the order in which a
// container reads them: either their paths or, as "ctr-remote images optimize
// --record-out" writes them, JSON objects with a path. Empty lines and those
// that begin with # do not count, nor does a path that was there before.
func ReadPrioritized(r io.Reader) ([]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPrioritized+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPrioritized {
		return nil, fmt.Errorf("it has more than %d bytes", maxPrioritized)
	}
	var all []string
	seen := map[string]bool{}
	for line := range bytes.Lines(data) {
		path, err := prioritized(strings.TrimSpace(string(line)))
		switch {
		case err != nil:
			return nil, err
		case path == "" || seen[path]:
			continue
		case len(all) == maxFirst:
			return nil, fmt.Errorf("it names more than %d files", maxFirst)
		}
		seen[path] = true
		all = append(all, path)
	}
	if len(all) == 0 {
		return nil, errors.New("it names no file")
	}
	return all, nil
}

// prioritized is the path in a line, or nothing.
func prioritized(line string) (string, error) {
	switch {
	case strings.HasPrefix(line, "#"):
		return "", nil
	case !strings.HasPrefix(line, "{"):
		return line, nil
	}
	var record struct{ Path string }
	if err := json.Unmarshal([]byte(line), &record); err != nil {
		return "", fmt.Errorf("the line %s: %w", quote(line), err)
	}
	return record.Path, nil
}
