package config

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Entry is one setting as it may be shown: secrets are hidden.
type Entry struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
	Origin string   `json:"origin"`

	list    bool
	outside bool // the file can't say it
}

// Entries are the settings in force, in the order of the table.
func (s *Settings) Entries() []Entry { return s.entries }

func (o Option) entry(origin string) Entry {
	e := Entry{Name: o.Name, Values: []string{}, Origin: origin, list: o.Repeatable(), outside: o.NotInFile}
	for _, w := range o.words() {
		e.Values = append(e.Values, o.shown(w))
	}
	return e
}

// WriteYAML writes the settings as a file that Load would read, with the
// origins as comments.
func (s *Settings) WriteYAML(w io.Writer) error {
	for _, e := range s.entries {
		line := strings.TrimSpace(e.Name+": "+e.yaml()) + "  # " + e.Origin
		if e.outside {
			line = "# " + line
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// yaml is the value in JSON's notation, which is YAML too.
func (e Entry) yaml() string {
	var v any = e.Values
	if !e.list {
		v = e.Values[0]
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}
