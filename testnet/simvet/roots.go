package simvet

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/types/typeutil"
)

const module = "github.com/plexus-net/plexus/"

// A root is where plexus enters a package.
type root struct {
	node ast.Node
	name string
}

// enter lists the functions that are given functions to call on a turn, or to
// serve calls with.
var enter = map[string]bool{
	module + "agent.Behavior.Do":     true,
	module + "behavior.On":           true,
	module + "rpc.Method.Go":         true,
	module + "rpc.Method.Handle":     true,
	module + "rpc.Method.HandleWith": true,
	module + "rpc.Server.HandleRaw":  true,
}

// roots returns where plexus enters the package: methods first, and then the
// functions that it is given. An unexported method that only other code calls,
// such as goroutines and main, is none.
func (c *checker) roots() (roots []root) {
	var private []root
	for _, t := range c.behaviours() {
		for _, sel := range typeutil.IntuitiveMethodSet(t, nil) {
			node := c.code[origin(sel.Obj())]
			switch r := (root{node, t.Obj().Name() + "." + sel.Obj().Name()}); {
			case node == nil:
			case sel.Obj().Exported():
				roots = append(roots, r)
			default:
				private = append(private, r)
			}
		}
	}
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if !enter[fullName(typeutil.Callee(c.TypesInfo, call))] && !c.adapts(call.Fun) {
				return true
			}
			for _, arg := range call.Args {
				if isFunc(c.TypesInfo.TypeOf(arg)) {
					roots = append(roots, root{arg, "a function given to " + types.ExprString(call.Fun)})
				}
			}
			return true
		})
	}
	inside, outside := c.sides(roots, private)
	for _, r := range private {
		if inside[r.node] || !outside[r.node] {
			roots = append(roots, r)
		}
	}
	return roots
}

// adapts reports whether a call of x converts a function to a behaviour or a
// handler.
func (c *checker) adapts(x ast.Expr) bool {
	tv := c.TypesInfo.Types[x]
	return tv.IsType() && (isNamed(tv.Type, "behavior.Func") || isNamed(tv.Type, "behavior.HandlerFunc"))
}

// behaviours returns the types of the package that are behaviours, handlers or
// parts of behaviours.
func (c *checker) behaviours() (found []*types.Named) {
	scope := c.Pkg.Scope()
	for _, name := range scope.Names() {
		obj, ok := scope.Lookup(name).(*types.TypeName)
		if !ok || obj.IsAlias() || c.test(obj.Pos()) {
			continue
		}
		t, ok := obj.Type().(*types.Named)
		if !ok || types.IsInterface(t) {
			continue
		}
		for _, sel := range typeutil.IntuitiveMethodSet(t, nil) {
			if isCallback(sel.Obj()) {
				found = append(found, t)
				break
			}
		}
	}
	return found
}

// isCallback reports whether a method makes its type a behaviour, a handler or a
// part.
func isCallback(method types.Object) bool {
	sig := method.Type().(*types.Signature)
	in, out := sig.Params(), sig.Results()
	if in.Len() != 2 || !isPointer(in.At(1).Type(), "conn.Message") {
		return false
	}
	of := in.At(0).Type()
	switch method.Name() {
	case "OnMessage":
		return out.Len() == 0 && (isPointer(of, "agent.Behavior") || isPointer(of, "agent.Handler"))
	case "Take":
		return out.Len() == 1 && isPointer(of, "agent.Behavior") && types.Identical(out.At(0).Type(), types.Typ[types.Bool])
	}
	return false
}

// isPointer reports whether t is a pointer to a type of the module, such as
// "conn.Message".
func isPointer(t types.Type, name string) bool {
	p, ok := types.Unalias(t).(*types.Pointer)
	return ok && isNamed(p.Elem(), name)
}

func isNamed(t types.Type, name string) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path()+"."+n.Obj().Name() == module+name
}

// sides returns what the roots lead to, and what the rest of the package calls,
// in goroutines or elsewhere. The methods in private are no part of the rest.
func (c *checker) sides(roots, private []root) (inside, outside map[ast.Node]bool) {
	inside, outside = map[ast.Node]bool{}, map[ast.Node]bool{}
	for _, r := range roots {
		c.follow(r.node, inside, mentioned)
	}
	methods := map[ast.Node]bool{}
	for _, r := range private {
		methods[r.node] = true
	}
	for _, f := range c.files {
		c.walk(f, func(ast.Node) {}, func(n ast.Node) { c.follow(n, outside, mentioned) })
		for _, d := range f.Decls {
			if !inside[d] && !methods[d] {
				c.follow(d, outside, called)
			}
		}
	}
	return inside, outside
}

// follow notes what a function leads to, itself included.
func (c *checker) follow(n ast.Node, found map[ast.Node]bool, edge func(*checker, ast.Node) types.Object) {
	if n == nil || found[n] || c.skip(n) {
		return
	}
	found[n] = true
	c.walk(n, func(n ast.Node) {
		if obj := origin(edge(c, n)); obj != nil {
			c.follow(c.code[obj], found, edge)
		}
	}, nil)
}

// mentioned returns what a node names.
func mentioned(c *checker, n ast.Node) types.Object {
	if id, ok := n.(*ast.Ident); ok {
		return c.TypesInfo.Uses[id]
	}
	return nil
}

// called returns what a node calls.
func called(c *checker, n ast.Node) types.Object {
	if call, ok := n.(*ast.CallExpr); ok {
		return typeutil.Callee(c.TypesInfo, call)
	}
	return nil
}

// origin returns a function or variable as it is declared, where obj is it with
// its type arguments.
func origin(obj types.Object) types.Object {
	switch obj := obj.(type) {
	case *types.Func:
		return obj.Origin()
	case *types.Var:
		return obj.Origin()
	}
	return nil
}

// fullName returns the name of a function, such as "net/http.Get", or of a method,
// such as "sync.WaitGroup.Wait"; "" of anything else.
func fullName(obj types.Object) string {
	if _, ok := obj.(*types.Func); !ok || obj.Pkg() == nil {
		return ""
	}
	return obj.Pkg().Path() + "." + localName(obj)
}

// shortName is like fullName, with the name of the package in place of its path
// where that is clear, and also for variables.
func shortName(obj types.Object) string {
	name := obj.Pkg().Name()
	if obj.Pkg().Path() == "crypto/rand" {
		name = obj.Pkg().Path()
	}
	return name + "." + localName(obj)
}

func localName(obj types.Object) string {
	f, ok := obj.(*types.Func)
	if !ok || f.Signature().Recv() == nil {
		return obj.Name()
	}
	t := types.Unalias(f.Signature().Recv().Type())
	if p, ok := t.(*types.Pointer); ok {
		t = types.Unalias(p.Elem())
	}
	of := ""
	if n, ok := t.(*types.Named); ok {
		of = n.Obj().Name()
	}
	return of + "." + f.Name()
}
