package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ipfs-registry/ipfs-registry"

// goPackage is what "go list -json" says of a package.
type goPackage struct {
	Dir, ImportPath, Name, Doc         string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=Dir,ImportPath,Name,Doc,GoFiles,Imports,TestImports,XTestImports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room is the top-level directory that a package is in.
func room(importPath string) string {
	inside, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(inside, "/")
	return name
}

// The arrows of docs/architecture.md, and that there are no others. cmd and
// test see everything.
func TestArrows(t *testing.T) {
	allowed := map[string][]string{
		"config":   {},
		"image":    {},
		"registry": {"image"},
		"publish":  {"image"},
		"pin":      {"image"},
		"node":     {"image", "publish", "pin"},
	}
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		if from == "cmd" || from == "test" {
			continue
		}
		to, known := allowed[from]
		if !known {
			t.Errorf("%s is in no room of docs/architecture.md", p.ImportPath)
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if r := room(imported); r != "" && r != from && !slices.Contains(to, r) {
				t.Errorf("%s imports %s; %s may import %q", p.ImportPath, imported, from, to)
			}
		}
	}
}

// Of publish, node takes the names of the chunkers and nothing else.
func TestNodeTakesOnlyTheChunkerFromPublish(t *testing.T) {
	word := regexp.MustCompile(`\bpublish\.([A-Z]\w*)`)
	allowed := []string{"Chunker", "UnixFSv1", "KuboLegacy", "Sink"}
	for file, text := range sources(t, "node") {
		for _, m := range word.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(allowed, m[1]) {
				t.Errorf("%s uses publish.%s", file, m[1])
			}
		}
	}
}

// Who knows Kubo and libp2p, knows nothing of images, and the other way round.
func TestOnlyNodeKnowsKubo(t *testing.T) {
	for _, p := range packages(t) {
		if r := room(p.ImportPath); r == "node" || r == "test" {
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for _, kubo := range []string{"github.com/ipfs/kubo", "github.com/ipfs/boxo", "github.com/libp2p/"} {
				if strings.HasPrefix(imported, kubo) {
					t.Errorf("%s imports %s; only node may", p.ImportPath, imported)
				}
			}
		}
	}
}

func TestPackages(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no doc comment", p.ImportPath)
		}
		if slices.Contains([]string{"util", "utils", "common", "types", "helper", "helpers", "misc", "base"}, p.Name) {
			t.Errorf("%s: the name says nothing", p.ImportPath)
		}
	}
}

// The code says what happens when: nothing before main and no end but main's.
func TestNothingHappensBehindTheBack(t *testing.T) {
	initialiser, exit := regexp.MustCompile(`(?m)^func init\(`), regexp.MustCompile(`\b(os\.Exit|log\.Fatal\w*)\(`)
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if initialiser.Match(data) {
				t.Errorf("%s has an init function", path)
			}
			if exit.Match(data) && (p.Name != "main" || name != "main.go") {
				t.Errorf("%s ends the process; only main.go may", path)
			}
		}
	}
}

// A file that is longer has two subjects.
func TestFilesAreShort(t *testing.T) {
	const limit = 450
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			f, err := os.Open(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			lines := 0
			for s := bufio.NewScanner(f); s.Scan(); lines++ {
			}
			if f.Close(); lines > limit {
				t.Errorf("%s/%s has %d lines; the limit is %d", p.ImportPath, name, lines, limit)
			}
		}
	}
}

// sources are the files of a room, tests left out.
func sources(t *testing.T, name string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			if room(p.ImportPath) != name {
				continue
			}
			data, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.Join(p.ImportPath, file)] = string(data)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no files", name)
	}
	return all
}
