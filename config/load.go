package config

import (
	"fmt"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// layer is what one kind of origin says: option name → value as it came.
type layer struct {
	values *koanf.Koanf
	origin func(Option) string
}

// Load finds the settings: flags over environ over the file over the defaults.
// flags are those of [DefineGlobal] and [Define], parsed; environ is as in
// os.Environ. An error names the setting, where it came from, the bad value and
// what is allowed, and is the user's to mend.
func Load(flags *pflag.FlagSet, environ []string) (*Settings, error) {
	s := &Settings{origins: map[string]string{}}
	t := table(s)
	layers, err := read(t, flags, environ)
	if err != nil {
		return nil, err
	}
	merged := koanf.New(".")
	for _, l := range layers {
		if err := merged.Merge(l.values); err != nil {
			return nil, fmt.Errorf("read the settings: %w", err)
		}
		for _, o := range t {
			if l.values.Exists(o.Name) {
				s.origins[o.Name] = l.origin(o)
			}
		}
	}
	if err := s.apply(t, merged); err != nil {
		return nil, err
	}
	return s, s.finish(environ)
}

// read returns the layers, the weakest first.
func read(t []Option, flags *pflag.FlagSet, environ []string) ([]layer, error) {
	fromFlags, err := flagLayer(t, flags)
	if err != nil {
		return nil, err
	}
	fromEnv, err := envLayer(t, environ)
	if err != nil {
		return nil, err
	}
	path := fromFlags.values.String("config")
	if path == "" {
		path = fromEnv.values.String("config")
	}
	fromFile, err := fileLayer(t, path)
	if err != nil {
		return nil, err
	}
	fromDefaults, err := defaultLayer(t)
	return []layer{fromDefaults, fromFile, fromEnv, fromFlags}, err
}

func defaultLayer(t []Option) (layer, error) {
	values := map[string]any{}
	for _, o := range t {
		if o.Default != "" {
			values[o.Name] = o.Default
		}
	}
	k := koanf.New(".")
	return layer{k, func(Option) string { return "default" }}, k.Load(confmap.Provider(values, "."), nil)
}

// apply moves the merged values into the fields.
func (s *Settings) apply(t []Option, merged *koanf.Koanf) error {
	for _, o := range t {
		words, err := texts(merged.Get(o.Name))
		if err == nil && words != nil {
			err = o.set(words)
		}
		if err != nil {
			return o.fault(s.Origin(o.Name), words, err)
		}
		s.entries = append(s.entries, o.entry(s.Origin(o.Name)))
	}
	return nil
}

// fault is the error about a value.
func (o Option) fault(origin string, words []string, err error) error {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = fmt.Sprintf("%q", o.shown(w))
	}
	if len(shown) == 0 {
		shown = []string{"the value"}
	}
	return fmt.Errorf("read the setting %s from the %s: %s is not allowed: %w; use %s",
		o.Name, origin, strings.Join(shown, ", "), err, o.Allowed)
}
