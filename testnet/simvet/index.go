package simvet

import (
	"go/ast"
	"go/constant"
	"go/types"
)

// buffers tells of variables and fields whether all channels that they are given
// have room for a value.
type buffers map[types.Object]bool

func (b buffers) has(v types.Object) bool { return v != nil && b[v] }

// index notes where the functions are, and what variables and fields hold.
func (c *checker) index(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Body != nil {
				c.code[c.TypesInfo.Defs[n.Name]] = n
			}
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if len(n.Values) == len(n.Names) {
					c.gets(id, n.Values[i])
				}
			}
		case *ast.AssignStmt:
			for i, x := range n.Lhs {
				if len(n.Lhs) == len(n.Rhs) {
					c.gets(x, n.Rhs[i])
				}
			}
		case *ast.CompositeLit:
			c.fields(n)
		}
		return true
	})
}

// fields notes what the fields of a struct get.
func (c *checker) fields(lit *ast.CompositeLit) {
	t := types.Unalias(c.TypesInfo.TypeOf(lit))
	if p, ok := t.Underlying().(*types.Pointer); ok { // &T left out, in a list
		t = p.Elem()
	}
	s, ok := t.Underlying().(*types.Struct)
	if !ok {
		return
	}
	for i, x := range lit.Elts {
		if kv, ok := x.(*ast.KeyValueExpr); ok {
			c.gets(kv.Key, kv.Value)
		} else {
			c.holds(s.Field(i).Origin(), x)
		}
	}
}

// gets notes what a variable or field is given.
func (c *checker) gets(x, value ast.Expr) {
	if id, ok := x.(*ast.Ident); ok {
		if v, ok := c.TypesInfo.Defs[id].(*types.Var); ok && isFunc(v.Type()) {
			c.code[v] = value
		}
	}
	c.holds(c.variable(x), value)
}

// holds notes what channel a variable or field is given.
func (c *checker) holds(v types.Object, value ast.Expr) {
	call, ok := ast.Unparen(value).(*ast.CallExpr)
	if v == nil || !ok {
		return
	}
	if _, ok := v.Type().Underlying().(*types.Chan); !ok {
		return
	}
	room := false
	if fn, ok := ast.Unparen(call.Fun).(*ast.Ident); ok && c.TypesInfo.Uses[fn] == types.Universe.Lookup("make") && len(call.Args) == 2 {
		n := c.TypesInfo.Types[call.Args[1]].Value
		room = n == nil || constant.Sign(n) > 0
	}
	before, known := c.buffers[v]
	c.buffers[v] = room && (before || !known)
}

// variable returns the variable or field that an expression names, or nil.
func (c *checker) variable(x ast.Expr) types.Object {
	switch x := ast.Unparen(x).(type) {
	case *ast.Ident:
		return origin(c.TypesInfo.ObjectOf(x))
	case *ast.SelectorExpr:
		return origin(c.TypesInfo.Uses[x.Sel])
	}
	return nil
}

func isFunc(t types.Type) bool {
	if t == nil {
		return false
	}
	_, ok := t.Underlying().(*types.Signature)
	return ok
}
