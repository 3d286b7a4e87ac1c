// Package simvet finds code in behaviours that the simulator cannot run, or not
// twice in the same way: what takes time, waits, draws random numbers or dials
// by another way than through plexus.
//
//	go run github.com/plexus-net/plexus/cmd/plexus-vet ./...
//
// prints what it finds, and what to use instead:
//
//	room.go:31:15: time.Now tells real time: use Now of the agent
//
// # Where it looks
//
// In what runs on the turns of behaviours, and in what that calls or mentions of
// the same package. Tests are left out.
//
//	methods of behaviours, handlers and parts ──┐
//	functions that serve calls ─────────────────┼──> functions, methods and
//	functions for On, Do, Func and Go ──────────┘    variables that hold functions
//
// It does not look into goroutines, which it reports where they start, nor into
// other packages, nor behind calls of interfaces and of fields that hold
// functions.
//
// # What is meant to be so
//
// A comment takes out what begins on its line or on the next, a whole function
// or method among them. The reason is required.
//
//	//simvet:ignore is never simulated: it talks to the sensor
package simvet

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Analyzer is the check.
var Analyzer = &analysis.Analyzer{
	Name: "simvet",
	Doc: `find code in behaviours that the simulator cannot run

The simulator of plexus runs behaviours on virtual time, in one loop, from a
seed. It cannot run, or not twice in the same way, what takes time, waits, draws
random numbers or dials by another way than through plexus.

A comment "//simvet:ignore reason" takes out what begins on its line or on the
next, a whole function or method among them.`,
	URL: "https://pkg.go.dev/github.com/plexus-net/plexus/testnet/simvet",
	Run: run,
}

// A checker looks at one package.
type checker struct {
	*analysis.Pass
	files   []*ast.File // without tests
	ignored map[line]bool
	code    map[types.Object]ast.Node // of the functions, and of the variables that hold functions
	buffers buffers
	seen    map[ast.Node]bool
	from    string             // the function of a behaviour that leads to what is looked at; "": it is one itself
	done    map[token.Pos]bool // what has been reported
}

// A line is one of a file.
type line struct {
	file   *token.File
	number int
}

func run(pass *analysis.Pass) (any, error) {
	c := &checker{
		Pass:    pass,
		ignored: map[line]bool{},
		code:    map[types.Object]ast.Node{},
		buffers: buffers{},
		seen:    map[ast.Node]bool{},
		done:    map[token.Pos]bool{},
	}
	for _, f := range pass.Files {
		if !c.test(f.FileStart) {
			c.files = append(c.files, f)
		}
	}
	for _, f := range c.files {
		c.directives(f)
		c.index(f)
	}
	for _, r := range c.roots() {
		c.from = ""
		c.look(r.node, r.name)
	}
	return nil, nil
}

// test reports whether a position is in a test.
func (c *checker) test(pos token.Pos) bool {
	f := c.Fset.File(pos)
	return f == nil || strings.HasSuffix(f.Name(), "_test.go")
}

// directive is what a comment begins with that takes out its line.
const directive = "//simvet:ignore"

// directives notes what comments take out.
func (c *checker) directives(f *ast.File) {
	for _, group := range f.Comments {
		for _, comment := range group.List {
			reason, ok := strings.CutPrefix(comment.Text, directive)
			if !ok || reason != "" && !strings.ContainsAny(reason[:1], " \t") {
				continue
			}
			if reason = strings.TrimSpace(reason); reason == "" || strings.HasPrefix(reason, "//") {
				c.Report(analysis.Diagnostic{Pos: comment.Pos(), Category: "ignore", Message: "simvet:ignore needs a reason: " + directive + " reason"})
				continue
			}
			c.ignored[c.line(comment.Pos())] = true
			next := c.line(group.End())
			next.number++
			c.ignored[next] = true
		}
	}
}

func (c *checker) line(pos token.Pos) line {
	f := c.Fset.File(pos)
	return line{f, f.Line(pos)}
}

// look reports what is wrong in a function, and in what it leads to.
func (c *checker) look(n ast.Node, name string) {
	if c.skip(n) {
		return
	}
	c.seen[n] = true
	var next []types.Object
	operations := map[ast.Node]bool{} // those on channels of select statements
	c.walk(n, func(n ast.Node) {
		c.check(n, operations)
		if id, ok := n.(*ast.Ident); ok {
			if obj := origin(c.TypesInfo.Uses[id]); c.code[obj] != nil {
				next = append(next, obj)
			}
		}
	}, nil)
	if c.from == "" {
		c.from = name
		defer func() { c.from = "" }()
	}
	for _, obj := range next {
		c.look(c.code[obj], obj.Name())
	}
}

// skip reports whether a function has been looked at, or is not to be.
func (c *checker) skip(n ast.Node) bool {
	_, fn := n.(*ast.FuncDecl)
	return c.seen[n] || fn && c.ignored[c.line(n.Pos())]
}

// walk calls f with each node of a function that runs where the function runs,
// and gone, unless it is nil, with the functions that run in goroutines.
func (c *checker) walk(n ast.Node, f, gone func(ast.Node)) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, leaves := n.(*ast.CallExpr)
		switch stmt := n.(type) {
		case nil:
			return false
		case *ast.GoStmt:
			call, leaves = stmt.Call, true
		case *ast.CallExpr:
			leaves = c.starts(stmt)
		}
		f(n)
		if !leaves {
			return true
		}
		if _, stmt := n.(*ast.GoStmt); !stmt {
			c.walk(call.Fun, f, gone)
		} else if gone != nil {
			gone(call.Fun)
		}
		for _, arg := range call.Args {
			if !isFunc(c.TypesInfo.TypeOf(arg)) {
				c.walk(arg, f, gone)
			} else if gone != nil {
				gone(arg)
			}
		}
		return false
	})
}

// report tells of a mistake, once.
func (c *checker) report(n ast.Node, rule, format string, args ...any) {
	if c.done[n.Pos()] || c.ignored[c.line(n.Pos())] {
		return
	}
	c.done[n.Pos()] = true
	text := fmt.Sprintf(format, args...)
	if c.from != "" {
		text += " (called from " + c.from + ")"
	}
	c.Report(analysis.Diagnostic{Pos: n.Pos(), End: n.End(), Category: rule, Message: text})
}
