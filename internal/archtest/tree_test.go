package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A tree is the sources of a module.
type tree struct {
	module   string
	fset     *token.FileSet
	packages []*pkg // by directory
}

// A pkg is the Go files of a directory, tests and all build tags included.
type pkg struct {
	dir   string
	files []*file
}

type file struct {
	path  string
	test  bool
	lines int
	ast   *ast.File
}

// readTree parses every Go file of a module, other modules in it excepted.
func readTree(sources fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	mod, err := fs.ReadFile(sources, "go.mod")
	if err != nil {
		return nil, err
	}
	t.module = string(regexp.MustCompile(`(?m)^module (\S+)`).FindSubmatch(mod)[1])
	err = fs.WalkDir(sources, ".", func(name string, d fs.DirEntry, err error) error {
		switch base := d.Name(); {
		case err != nil:
			return err
		case d.IsDir():
			if name == "." {
				return nil
			}
			if _, err := fs.Stat(sources, path.Join(name, "go.mod")); err == nil || base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
				return fs.SkipDir
			}
			return nil
		case path.Ext(name) != ".go" || base[0] == '.' || base[0] == '_':
			return nil
		}
		return t.add(sources, name)
	})
	return t, err
}

func (t *tree) add(sources fs.FS, name string) error {
	text, err := fs.ReadFile(sources, name)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	i := slices.IndexFunc(t.packages, func(p *pkg) bool { return p.dir == dir })
	if i < 0 {
		i = len(t.packages)
		t.packages = append(t.packages, &pkg{dir: dir})
	}
	p := t.packages[i]
	p.files = append(p.files, &file{
		path: name, test: strings.HasSuffix(name, "_test.go"), ast: parsed,
		lines: bytes.Count(text, []byte("\n")),
	})
	return nil
}

// imports returns the directories of the module that a file imports.
func (t *tree) imports(f *file) (dirs []string) {
	for _, spec := range f.ast.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if name == t.module {
			dirs = append(dirs, ".")
		} else if dir, ok := strings.CutPrefix(name, t.module+"/"); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// position says where a node stands, as file:line.
func (t *tree) position(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

// file returns the path of the file that a node stands in.
func (t *tree) file(n ast.Node) string { return t.fset.Position(n.Pos()).Filename }

// repository reads the sources of plexus, once.
var repository = sync.OnceValues(func() (*tree, error) { return readTree(os.DirFS("../..")) })

func load(t *testing.T) *tree {
	t.Helper()
	tree, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}
