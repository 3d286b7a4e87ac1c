package archtest

import (
	"fmt"
	"go/ast"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The budgets of CONTRIBUTING.md.
const (
	maxNames   = 180 // exported names of the core together
	maxModules = 20  // modules linked into a node with all its transports
)

// core is what users of the runtime have to know.
var core = []string{"identity", "router", "codec", "conn", "agent", "behavior", "rpc", "network"}

// exported returns the exported names of a package that are declared at its top
// level: types, functions, constants and variables. Methods and fields do not
// count; they are found from their types.
func exported(p *pkg) (names []string) {
	for _, f := range p.files {
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			names = append(names, declared(d)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names) // one name may have files for several systems
}

// declared returns the exported names of a declaration other than a method.
func declared(d ast.Decl) (names []string) {
	add := func(ids ...*ast.Ident) {
		for _, id := range ids {
			if id.IsExported() {
				names = append(names, id.Name)
			}
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			add(d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				add(spec.Name)
			case *ast.ValueSpec:
				add(spec.Names...)
			}
		}
	}
	return names
}

func checkNames(t *tree, most int) (problems []string, total int) {
	var parts []string
	for _, p := range t.packages {
		if slices.Contains(core, p.dir) {
			n := len(exported(p))
			total += n
			parts = append(parts, fmt.Sprintf("%s %d", p.dir, n))
		}
	}
	if total > most {
		problems = append(problems, fmt.Sprintf("the core exports %d names, at most %d are allowed: %s", total, most, strings.Join(parts, ", ")))
	}
	return problems, total
}

func TestExportedNames(t *testing.T) {
	problems, total := checkNames(load(t), maxNames)
	t.Logf("%d of %d exported names", total, maxNames)
	report(t, problems)
}

// TestLinkedModules asks the go command what a node with every transport links.
func TestLinkedModules(t *testing.T) {
	args := []string{"list", "-e", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}"}
	for _, dir := range []string{"network", "conn/quic", "conn/tcp", "network/metrics"} {
		if slices.ContainsFunc(load(t).packages, func(p *pkg) bool { return p.dir == dir }) {
			args = append(args, "./"+dir)
		}
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.Compact(modules)
	t.Logf("%d of %d modules: %s", len(modules), maxModules, strings.Join(modules, " "))
	if len(modules) > maxModules {
		t.Errorf("%d modules are linked, at most %d are allowed: %s", len(modules), maxModules, strings.Join(modules, " "))
	}
}
