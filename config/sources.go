package config

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// maxFile bounds the configuration file, in bytes.
const maxFile = 1 << 20

func flagLayer(t []Option, flags *pflag.FlagSet) (layer, error) {
	k := koanf.New(".")
	given := posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
		i := slices.IndexFunc(t, func(o Option) bool { return o.Flag() == f.Name })
		if i < 0 {
			return "", nil
		}
		return t[i].Name, posflag.FlagVal(flags, f)
	})
	return layer{k, func(o Option) string { return "flag --" + o.Flag() }}, k.Load(given, nil)
}

// envLayer reads other programs' variables first, so that ours win. A variable
// that is set to nothing counts as not set.
func envLayer(t []Option, environ []string) (layer, error) {
	if err := unknownVariables(t, environ); err != nil {
		return layer{}, err
	}
	k, origins := koanf.New("."), map[string]string{}
	for _, nameOf := range []func(Option) string{func(o Option) string { return o.AlsoEnv }, Option.Env} {
		given := env.Provider(".", env.Opt{
			EnvironFunc: func() []string { return environ },
			TransformFunc: func(name, value string) (string, any) {
				i := slices.IndexFunc(t, func(o Option) bool { return nameOf(o) == name })
				if i < 0 || value == "" {
					return "", nil
				}
				origins[t[i].Name] = "variable " + name
				return t[i].Name, t[i].split(value)
			},
		})
		if err := k.Load(given, nil); err != nil {
			return layer{}, fmt.Errorf("read the environment: %w", err)
		}
	}
	return layer{k, func(o Option) string { return origins[o.Name] }}, nil
}

// split makes a list of a variable's value, whose commas separate.
func (o Option) split(value string) any {
	if !o.Repeatable() {
		return value
	}
	words := []string{}
	for w := range strings.SplitSeq(value, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words
}

// serviceLink is a variable that Kubernetes puts into every container of a
// namespace with a Service called ipfs-registry or ipfs-registry-something.
// They are not ours, and to fail on them would be to fail in every such pod.
var serviceLink = regexp.MustCompile(`^IPFS_REGISTRY_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)=|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=|=(tcp|udp|sctp)://))`)

func unknownVariables(t []Option, environ []string) error {
	var known []string
	for _, o := range t {
		known = append(known, o.Env(), o.AlsoEnv)
	}
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, prefix) || slices.Contains(known, name) || serviceLink.MatchString(line) {
			continue
		}
		return fmt.Errorf("read the environment: no setting has the variable %s; %s", name, suggest(name, known))
	}
	return nil
}

// fileLayer reads the YAML file; an empty path is no file.
func fileLayer(t []Option, path string) (layer, error) {
	k := koanf.New(".")
	l := layer{k, func(Option) string { return "file " + path }}
	if path == "" {
		return l, nil
	}
	data, err := readFile(path)
	if err != nil {
		return l, fmt.Errorf("read the configuration file: %w; name a YAML file with --config or %sCONFIG", err, prefix)
	}
	values, err := parse(t, data)
	if err != nil {
		return l, fmt.Errorf("read the configuration file %s: %w", path, err)
	}
	return l, k.Load(confmap.Provider(values, "."), nil)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, err
}

// parse turns YAML into option name → value and refuses what is no option.
func parse(t []Option, data []byte) (map[string]any, error) {
	raw, err := yaml.Parser().Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("it is no YAML mapping of settings: %w; see docs/configuration.md", err)
	}
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(raw, ""), nil); err != nil {
		return nil, err
	}
	values := k.All()
	for _, key := range k.Keys() {
		if err := checkKey(t, key, values[key]); err != nil {
			return nil, err
		}
		if empty(values[key]) {
			delete(values, key)
		}
	}
	return values, nil
}

func empty(v any) bool {
	m, isMap := v.(map[string]any)
	return v == nil || isMap && len(m) == 0
}

func checkKey(t []Option, key string, value any) error {
	var known []string
	for _, o := range t {
		switch {
		case o.Name == key && o.Secret:
			return fmt.Errorf("the file cannot set %s; use %s", key, o.Env())
		case o.Name == key && o.NotInFile:
			return fmt.Errorf("the file cannot set %s; use --%s or %s", key, o.Flag(), o.Env())
		case o.Name == key, empty(value) && strings.HasPrefix(o.Name, key+"."):
			return nil
		case !o.NotInFile:
			known = append(known, o.Name)
		}
	}
	return fmt.Errorf("no setting is called %q; %s", key, suggest(key, known))
}
