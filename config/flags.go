package config

import (
	"strings"

	"github.com/spf13/pflag"
)

// DefineGlobal adds the flags that every verb takes.
func DefineGlobal(flags *pflag.FlagSet) {
	for _, o := range Options() {
		if len(o.Verbs) == 0 {
			o.define(flags)
		}
	}
}

// Define adds the flags of one verb, without those that every verb takes.
func Define(flags *pflag.FlagSet, verb string) {
	names := map[string]string{}
	for _, o := range Options() {
		if len(o.Verbs) == 0 || !o.For(verb) {
			continue
		}
		o.define(flags)
		if o.AlsoFlag != "" {
			names[o.AlsoFlag] = o.Flag()
		}
	}
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if ours, ok := names[name]; ok {
			name = ours
		}
		return pflag.NormalizedName(name)
	})
}

// define adds a flag whose value is not looked at here: Load does it, in one
// way for all that a value can come from.
func (o Option) define(flags *pflag.FlagSet) {
	if o.Secret {
		return
	}
	usage := o.usage()
	switch o.field.(type) {
	case *bool:
		flags.Bool(o.Flag(), o.Default == "true", usage)
	case *[]string:
		flags.StringArray(o.Flag(), nil, usage)
	default:
		flags.String(o.Flag(), o.Default, usage)
	}
}

// usage is the sentence as a phrase, with the value's name in the backquotes
// that pflag looks for.
func (o Option) usage() string {
	text := strings.ToLower(o.Doc[:1]) + strings.TrimSuffix(o.Doc[1:], ".")
	if o.Arg != "" {
		text += " (`" + o.Arg + "`: " + o.Allowed
		if o.Repeatable() {
			text += "; repeatable"
			if o.Default != "" {
				text += "; default " + o.Default
			}
		}
		text += ")"
	}
	return text
}
