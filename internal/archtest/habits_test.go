package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	maxLines     = 500 // of a file
	maxFuncLines = 60  // of a function, outside of tests
)

// long lists what is longer than that by decision, with the reason.
var long = map[string]string{}

// vague are names that say nothing of what a package is for.
var vague = []string{"util", "utils", "common", "types", "helpers", "helper", "misc", "base"}

func TestPackageNames(t *testing.T) { report(t, checkPackageNames(load(t))) }

func checkPackageNames(t *tree) (problems []string) {
	for _, p := range t.packages {
		for _, f := range p.files {
			if name := f.ast.Name.Name; slices.Contains(vague, name) || slices.Contains(vague, path.Base(p.dir)) {
				problems = append(problems, fmt.Sprintf("%s: package %s: name it after what it is for", f.path, name))
			}
		}
	}
	return problems
}

func TestLength(t *testing.T) { report(t, checkLength(load(t))) }

func checkLength(t *tree) (problems []string) {
	for _, p := range t.packages {
		for _, f := range p.files {
			if f.lines > maxLines && long[f.path] == "" {
				problems = append(problems, fmt.Sprintf("%s: has %d lines, at most %d are allowed", f.path, f.lines, maxLines))
			}
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || f.test {
					continue
				}
				if n := t.fset.Position(fn.End()).Line - t.fset.Position(fn.Pos()).Line + 1; n > maxFuncLines && long[f.path+" "+fn.Name.Name] == "" {
					problems = append(problems, fmt.Sprintf("%s: %s has %d lines, at most %d are allowed", t.position(fn), fn.Name.Name, n, maxFuncLines))
				}
			}
		}
	}
	return problems
}

func TestDocumentation(t *testing.T) { report(t, checkDocumentation(load(t))) }

// checkDocumentation finds packages without a package comment and exported
// declarations without a comment, methods included. Names in a group may share
// the comment of the group.
func checkDocumentation(t *tree) (problems []string) {
	for _, p := range t.packages {
		documented, sources := false, 0
		for _, f := range p.files {
			if f.test {
				continue
			}
			sources++
			documented = documented || f.ast.Doc != nil
			if f.ast.Name.Name == "main" {
				continue
			}
			for _, d := range f.ast.Decls {
				for _, name := range undocumented(d) {
					problems = append(problems, fmt.Sprintf("%s: %s is exported and has no comment", t.position(d), name))
				}
			}
		}
		if sources > 0 && !documented {
			problems = append(problems, fmt.Sprintf("%s: has no package comment", p.dir))
		}
	}
	return problems
}

func undocumented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d)) && !conventional(d.Name.Name)) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if d.Doc == nil && spec.Doc == nil && spec.Name.IsExported() {
					names = append(names, spec.Name.Name)
				}
			case *ast.ValueSpec:
				if d.Doc == nil && spec.Doc == nil && spec.Comment == nil && spec.Names[0].IsExported() {
					names = append(names, spec.Names[0].Name)
				}
			}
		}
	}
	return names
}

// conventional reports whether a method says all by its name.
func conventional(name string) bool {
	return slices.Contains([]string{"Error", "Unwrap", "String", "Is"}, name)
}

// receiver returns the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func TestBehavioursTakeTimeFromTheirAgent(t *testing.T) { report(t, checkClock(load(t))) }

// checkClock finds behaviours and tables that take time or randomness from the
// packages time and rand: no simulator could run them.
func checkClock(t *tree) (problems []string) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	source := []string{"New", "NewPCG", "NewChaCha8", "NewZipf"} // from a seed
	for _, p := range t.packages {
		if parent := path.Dir(p.dir); parent != "behaviors" && (parent != "router" || isKit(p.dir)) {
			continue
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				from, name, _ := strings.Cut(called(call), ".")
				if from == "time" && slices.Contains(clock, name) || from == "rand" && !slices.Contains(source, name) {
					problems = append(problems, fmt.Sprintf("%s: %s.%s: behaviours and tables take time and randomness from their agent", t.position(call), from, name))
				}
				return true
			})
		}
	}
	return problems
}
