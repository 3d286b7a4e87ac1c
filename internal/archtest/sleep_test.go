package archtest

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// asleep lists files whose sleeping is by decision, with the reason.
var asleep = map[string]string{
	"behavior/behaviortest/bad_test.go": "behaviours that break the rules, which the suite runs in bubbles",
}

func TestNoSleepInTests(t *testing.T) { report(t, checkSleep(load(t))) }

// checkSleep finds time.Sleep in tests outside of bubbles of testing/synctest.
// Inside is what stands in a call of synctest.Test or of a function that calls
// it, and what is used inside only; and functions whose comment says "bubble".
// Benchmarks run on real time and are excepted.
func checkSleep(t *tree) (problems []string) {
	for _, p := range t.packages {
		s := newSleepers(p)
		for _, u := range s.uses {
			if u.name == "time.Sleep" && !u.bubble && !s.inside[u.in] && asleep[t.file(u.node)] == "" {
				problems = append(problems, fmt.Sprintf("%s: time.Sleep outside of a synctest bubble: wait for what should happen", t.position(u.node)))
			}
		}
	}
	return problems
}

// sleepers is what the tests of a package use, and from where. It goes by
// names: functions and methods of one name are taken together.
type sleepers struct {
	starts map[string]bool // functions that start a bubble for their arguments
	inside map[string]bool // functions that run in bubbles only, or may sleep
	uses   []use
}

// A use is the mention of a name.
type use struct {
	name   string
	in     string // the function around it, "" at the top level
	bubble bool   // it stands in the arguments of what starts a bubble
	node   ast.Node
}

var entryPoint = regexp.MustCompile("^(Test|Fuzz|Example|main$|init$)")

func newSleepers(p *pkg) *sleepers {
	s := &sleepers{starts: map[string]bool{"synctest.Test": true}, inside: map[string]bool{}}
	var sources []*ast.FuncDecl
	var others []ast.Decl
	for _, f := range p.files {
		if !f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				sources = append(sources, fn)
			} else {
				others = append(others, d)
			}
		}
	}
	for _, fn := range sources {
		if !entryPoint.MatchString(fn.Name.Name) && mentions(fn, "synctest.Test") {
			s.starts[fn.Name.Name] = true
		}
	}
	excused := map[string]bool{}
	for _, fn := range sources {
		name := fn.Name.Name
		s.collect(fn.Body, name, false)
		excused[name] = excused[name] || usesB(fn) || strings.Contains(fn.Doc.Text(), "bubble")
		s.inside[name] = excused[name] || !entryPoint.MatchString(name)
	}
	for _, d := range others {
		s.collect(d, "", false)
	}
	s.settle(excused)
	return s
}

// settle takes out of inside what is used outside, until nothing changes.
func (s *sleepers) settle(excused map[string]bool) {
	used := map[string]bool{}
	for _, u := range s.uses {
		used[u.name] = true
	}
	for name := range s.inside {
		if !used[name] && !excused[name] {
			s.inside[name] = false
		}
	}
	for changed := true; changed; {
		changed = false
		for _, u := range s.uses {
			if s.inside[u.name] && !excused[u.name] && !u.bubble && !s.inside[u.in] {
				s.inside[u.name], changed = false, true
			}
		}
	}
}

// collect records what a node uses.
func (s *sleepers) collect(n ast.Node, in string, bubble bool) {
	if n == nil {
		return
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if name := called(n); s.starts[name] && !bubble {
				s.uses = append(s.uses, use{name, in, false, n})
				for _, arg := range n.Args {
					s.collect(arg, in, true)
				}
				return false
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				s.uses = append(s.uses, use{x.Name + "." + n.Sel.Name, in, bubble, n})
			}
		case *ast.Ident:
			if n.Name != in { // recursion says nothing
				s.uses = append(s.uses, use{n.Name, in, bubble, n})
			}
		}
		return true
	})
}

// mentions reports whether a function calls another.
func mentions(fn *ast.FuncDecl, name string) (found bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		found = found || ok && called(call) == name
		return !found
	})
	return found
}

// called returns the name of what a call calls: "f", "pkg.F", ".Method" of
// anything else.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
		return "." + f.Sel.Name
	}
	return ""
}

// usesB reports whether a function takes a *testing.B.
func usesB(fn *ast.FuncDecl) bool {
	for _, field := range fn.Type.Params.List {
		if star, ok := field.Type.(*ast.StarExpr); ok {
			if sel, ok := star.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "B" {
				return true
			}
		}
	}
	return false
}
