package simvet

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/types/typeutil"
)

// What is wrong, and what to use instead.
const (
	useNow     = " tells real time: use Now of the agent"
	useAfter   = " runs on real time: use After of the agent, which comes back in OnEvent"
	useContext = " ends in real time: use Method.Within of package rpc, or After of the agent"
	useEvents  = " starts a goroutine beside the simulator's loop: use After and Tell of the agent, and go on in OnEvent"
	useWaits   = " waits, and the simulator's loop with it: go on in OnEvent; a function that serves calls may wait in Call, Do and SendWait"
	useRand    = " is not drawn from the seed: use Rand of the agent"
	useSecret  = " is not drawn from the seed: use Rand of the agent, and make secrets before the behaviour is registered"
	useDial    = " reaches the real network: use Dial and Send of the agent"
	useKeys    = " in a range over a map comes in another order each time: range over sorted keys, slices.Sorted(maps.Keys(m))"
)

// A ban is on a function, by its full name.
type ban struct{ rule, instead string }

var bans = map[string]ban{
	"time.Now":          {"clock", useNow},
	"time.Since":        {"clock", useNow},
	"time.Until":        {"clock", useNow},
	"time.Sleep":        {"clock", useAfter},
	"time.After":        {"clock", useAfter},
	"time.AfterFunc":    {"clock", useAfter},
	"time.NewTimer":     {"clock", useAfter},
	"time.NewTicker":    {"clock", useAfter},
	"time.Tick":         {"clock", useAfter},
	"time.Timer.Reset":  {"clock", useAfter},
	"time.Ticker.Reset": {"clock", useAfter},

	"context.WithTimeout":       {"context", useContext},
	"context.WithTimeoutCause":  {"context", useContext},
	"context.WithDeadline":      {"context", useContext},
	"context.WithDeadlineCause": {"context", useContext},
	"context.AfterFunc":         {"goroutine", useEvents},

	"sync.WaitGroup.Go":   {"goroutine", useEvents},
	"sync.WaitGroup.Wait": {"wait", useWaits},
	"sync.Cond.Wait":      {"wait", useWaits},

	"golang.org/x/sync/errgroup.Group.Go":          {"goroutine", useEvents},
	"golang.org/x/sync/errgroup.Group.Wait":        {"wait", useWaits},
	"golang.org/x/sync/errgroup.Group.TryGo":       {"goroutine", useEvents},
	"golang.org/x/sync/semaphore.Weighted.Acquire": {"wait", useWaits},
	"golang.org/x/sync/singleflight.Group.DoChan":  {"goroutine", useEvents},
}

// families are bans on functions by what their full names begin with.
var families = map[string]ban{
	"net.Dial":               {"net", useDial},
	"net.Listen":             {"net", useDial},
	"net.Lookup":             {"net", useDial},
	"net.Dialer.Dial":        {"net", useDial},
	"net.ListenConfig.":      {"net", useDial},
	"net.Resolver.":          {"net", useDial},
	"crypto/tls.Dial":        {"net", useDial},
	"crypto/tls.Listen":      {"net", useDial},
	"net/http.Get":           {"net", useDial},
	"net/http.Head":          {"net", useDial},
	"net/http.Post":          {"net", useDial},
	"net/http.Client.":       {"net", useDial},
	"net/http.ListenAnd":     {"net", useDial},
	"net/http.Serve":         {"net", useDial},
	"net/http.Server.Listen": {"net", useDial},
	"net/http.Server.Serve":  {"net", useDial},
}

// banned returns the ban on what a selector selects, if there is one.
func banned(obj types.Object) (ban, bool) {
	if obj == nil || obj.Pkg() == nil {
		return ban{}, false
	}
	f, isFunc := obj.(*types.Func)
	switch obj.Pkg().Path() {
	case "math/rand", "math/rand/v2":
		if isFunc && f.Signature().Recv() == nil && !strings.HasPrefix(f.Name(), "New") {
			return ban{"random", useRand}, true
		}
		return ban{}, false
	case "crypto/rand":
		return ban{"random", useSecret}, true
	}
	name := fullName(obj)
	if b, ok := bans[name]; ok {
		return b, true
	}
	for prefix, b := range families {
		if strings.HasPrefix(name, prefix) && !strings.HasSuffix(name, "ServeHTTP") {
			return b, true
		}
	}
	return ban{}, false
}

// starts reports whether a call runs functions that it is given in goroutines.
func (c *checker) starts(call *ast.CallExpr) bool {
	name := fullName(typeutil.Callee(c.TypesInfo, call))
	return name == "time.AfterFunc" || bans[name].rule == "goroutine"
}

// check reports what is wrong with a node. operations holds those on channels
// that belong to the select statements that have been seen.
func (c *checker) check(n ast.Node, operations map[ast.Node]bool) {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		obj := c.TypesInfo.Uses[n.Sel]
		if b, ok := banned(obj); ok {
			c.report(n, b.rule, "%s%s", shortName(obj), b.instead)
		}
	case *ast.GoStmt:
		c.report(n, "goroutine", "go statement%s", useEvents)
	case *ast.SelectStmt:
		if !note(n, operations) {
			c.report(n, "wait", "select without default%s", useWaits)
		}
	case *ast.SendStmt:
		if !operations[n] && !c.buffers.has(c.variable(n.Chan)) {
			c.report(n, "wait", "sending to a channel%s", useWaits)
		}
	case *ast.UnaryExpr:
		if n.Op == token.ARROW && !operations[n] {
			c.report(n, "wait", "receiving from a channel%s", useWaits)
		}
	case *ast.RangeStmt:
		c.checkRange(n)
	}
}

// note adds to operations those of a select statement, and reports whether it has
// a default.
func note(s *ast.SelectStmt, operations map[ast.Node]bool) (hasDefault bool) {
	for _, clause := range s.Body.List {
		var x ast.Node
		switch comm := clause.(*ast.CommClause).Comm.(type) {
		case nil:
			hasDefault = true
		case *ast.SendStmt:
			x = comm
		case *ast.ExprStmt:
			x = ast.Unparen(comm.X)
		case *ast.AssignStmt:
			x = ast.Unparen(comm.Rhs[0])
		}
		operations[x] = true
	}
	return hasDefault
}

// checkRange reports loops that wait for a channel, and loops over maps that act
// on the world in the order of the map.
func (c *checker) checkRange(loop *ast.RangeStmt) {
	if _, ok := c.TypesInfo.TypeOf(loop.X).Underlying().(*types.Chan); ok {
		c.report(loop, "wait", "range over a channel%s", useWaits)
		return
	}
	if !c.unordered(loop.X) {
		return
	}
	reported := false
	c.walk(loop.Body, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || reported {
			return
		}
		if acts(fullName(typeutil.Callee(c.TypesInfo, call))) {
			reported = true
			c.report(loop, "order", "%s%s", types.ExprString(call.Fun), useKeys)
		}
	}, nil)
}

// unordered reports whether a range over x is in no certain order.
func (c *checker) unordered(x ast.Expr) bool {
	if _, ok := c.TypesInfo.TypeOf(x).Underlying().(*types.Map); ok {
		return true
	}
	call, ok := ast.Unparen(x).(*ast.CallExpr)
	if !ok {
		return false
	}
	switch fullName(typeutil.Callee(c.TypesInfo, call)) {
	case "maps.All", "maps.Keys", "maps.Values":
		return true
	}
	return false
}

// silent lists the methods of agents that only tell something.
var silent = map[string]bool{"Self": true, "Service": true, "Now": true, "Log": true, "Context": true, "Conns": true, "Stats": true, "Info": true}

// acts reports whether a function, by its full name, does what others see, or
// draws a random number.
func acts(name string) bool {
	name, ok := strings.CutPrefix(name, module)
	if !ok {
		return false
	}
	of, method := "", name
	if i := strings.LastIndex(name, "."); i >= 0 {
		of, method = name[:i], name[i+1:]
	}
	switch of {
	case "agent.Behavior", "agent.Handler", "agent.common":
		return !silent[method]
	case "behavior.Message":
		return method == "Send" || method == "Broadcast"
	case "rpc.Method":
		return method == "Go" || method == "Call"
	case "rpc.Client":
		return method == "CallRaw"
	}
	return false
}
