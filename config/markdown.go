package config

import (
	"fmt"
	"io"
	"strings"
)

const intro = `# Configuration

Every setting has one name. In the YAML file it is the key (a dot nests), as a flag it has two dashes in front, in the environment
it is in capitals behind ` + "`IPFS_REGISTRY_`" + `. A flag beats the environment, the environment beats the file, the file beats the default.

- The file is the one that ` + "`--config`" + ` or ` + "`IPFS_REGISTRY_CONFIG`" + ` names; no other is looked for. Unknown keys are errors, and so are unknown
  ` + "`IPFS_REGISTRY_*`" + ` variables, except those that Kubernetes sets for a Service of that name.
- A setting with several values is a repeated flag, a list in the file, and a comma-separated variable. A variable that is empty counts as not set.
- The variables of other programs named below count where ours is not set, so they too beat the file.
- ` + "`ipfs-registry config show`" + ` prints what is in force and where each value came from, credentials hidden;
  ` + "`ipfs-registry config validate`" + ` only checks.

` + "```yaml" + `
listen: localhost:5050
bootstrap: none
peer:
  - /dns4/seed.example.org/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp
node:
  provide: pinned
` + "```" + `

This page is generated from the option table in the package config: ` + "`make docs`" + `.

`

// WriteMarkdown writes docs/configuration.md.
func WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(intro)
	for _, o := range Options() {
		o.markdown(&b)
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func (o Option) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "## %s\n\n%s\n\n| | |\n|---|---|\n", o.Name, o.Doc)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "| %s | %s |\n", name, value)
		}
	}
	row("value", o.Allowed+map[bool]string{true: "; any number of them"}[o.Repeatable()])
	row("default", code(o.Default))
	row("flag", o.markdownFlag())
	row("variable", code(o.Env())+also(code(o.AlsoEnv), o.AlsoEnv != ""))
	row("verbs", o.verbs())
	b.WriteString("\n")
}

func (o Option) markdownFlag() string {
	if o.Secret {
		return "none, nor a key of the file"
	}
	return code("--"+o.Flag()) + also(code("--"+o.AlsoFlag), o.AlsoFlag != "")
}

func (o Option) verbs() string {
	if len(o.Verbs) == 0 {
		return "all"
	}
	return strings.Join(append(append([]string{}, o.Verbs...), "config"), ", ")
}

func also(text string, there bool) string {
	if !there {
		return ""
	}
	return ", also " + text
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
