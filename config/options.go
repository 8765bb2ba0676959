package config

import (
	"strings"
)

// prefix begins the name of every environment variable of ours.
const prefix = "IPFS_REGISTRY_"

// Option is one setting.
type Option struct {
	// Name is the key in the YAML file; dots nest.
	Name string
	// Arg is what --help calls the value; empty for a switch.
	Arg string
	// Default is what the value is when nobody sets it, as a person writes it.
	Default string
	// Doc is one sentence.
	Doc string
	// Allowed says what the value may be.
	Allowed string
	// Verbs that take the flag; empty for every verb.
	Verbs []string
	// AlsoFlag and AlsoEnv are names that other programs use for the same
	// thing. Ours wins where both are given.
	AlsoFlag string
	AlsoEnv  string
	// NotInFile marks what the file cannot say.
	NotInFile bool
	// Secret is read from the environment only: flags show in lists of
	// processes, and files are handed around.
	Secret bool

	field  any // pointer to the field of Settings
	check  func(string) error
	redact func(string) string
}

// Flag is the name of the flag, without dashes.
func (o Option) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(o.Name) }

// Env is the name of the environment variable.
func (o Option) Env() string {
	return prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(o.Name))
}

// Repeatable tells whether the setting has any number of values.
func (o Option) Repeatable() bool {
	_, ok := o.field.(*[]string)
	return ok
}

// For tells whether the flag belongs to the verb. The verb "config" takes all.
func (o Option) For(verb string) bool {
	if len(o.Verbs) == 0 || verb == "config" {
		return true
	}
	for _, v := range o.Verbs {
		if v == verb {
			return true
		}
	}
	return false
}

// Options is the table of all settings, in the order of the documentation.
func Options() []Option { return table(&Settings{}) }
