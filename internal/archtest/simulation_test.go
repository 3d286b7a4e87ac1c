package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// simulated are the packages that a simulator runs, in one loop and on a clock of
// its own. Patterns are path.Match's.
var simulated = []string{"network", "rpc", "agent", "behavior", "router", "router/*", "codec", "behaviors/*", "internal/wire", "internal/env", "internal/durable", "internal/frames", "internal/race", "conn/endpoint", "conn/hub"}

// realEnv is the type whose methods are the real environment, in internal/env.
const realEnv = "Real"

// actual lists what of it they may use, by file, with the reason.
var actual = map[string]string{
	"network/outbox.go sync.Cond":                 "the writer of production waits on it; that of a simulator is started on demand",
	"internal/env/env.go rand.Uint64":             "it is what Real.Source returns",
	"internal/env/context.go context.WithTimeout": "it is for Real",
}

func TestSimulatedCodeTakesAllFromItsEnvironment(t *testing.T) {
	tree := load(t)
	report(t, checkSimulated(tree))
	found := findReal(tree)
	for name := range actual {
		if !slices.ContainsFunc(found, func(r realUse) bool { return r.excuse == name }) {
			t.Errorf("%s: is excused and not there", name)
		}
	}
}

// checkSimulated finds what a simulator cannot run, or not twice in the same way:
// real time, goroutines, waiting, and randomness that has no seed.
func checkSimulated(t *tree) (problems []string) {
	for _, r := range findReal(t) {
		if actual[r.excuse] == "" {
			problems = append(problems, fmt.Sprintf("%s: %s: the simulator runs this package: %s", r.at, r.what, r.instead))
		}
	}
	return problems
}

// A realUse is a use of the real environment.
type realUse struct{ at, what, instead, excuse string }

// unreal lists names that are not for simulated packages, by import path, and
// what there is instead.
var unreal = map[string]struct {
	names   []string
	but     bool // all names but these
	instead string
}{
	"time":    {[]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, false, "take time from the environment or the agent"},
	"context": {[]string{"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause", "AfterFunc"}, false, "use env.WithTimeout and OnDone of the environment"},
	"sync":    {[]string{"WaitGroup", "Cond", "NewCond"}, false, "use Wait of the environment"},

	"golang.org/x/sync/errgroup":  {nil, true, "use Go and Wait of the environment"},
	"golang.org/x/sync/semaphore": {nil, true, "use Wait of the environment"},

	"math/rand":    {[]string{"Rand", "Source", "Source64", "Zipf", "New", "NewSource", "NewZipf"}, true, "take randomness from the environment or the agent"},
	"math/rand/v2": {[]string{"Rand", "Source", "PCG", "ChaCha8", "Zipf", "New", "NewPCG", "NewChaCha8", "NewZipf"}, true, "take randomness from the environment or the agent"},
	"crypto/rand":  {nil, true, "take randomness from the environment or the agent"},
}

// findReal returns what of the real environment simulated packages use.
func findReal(t *tree) (found []realUse) {
	for _, p := range t.packages {
		if isKit(p.dir) || !slices.ContainsFunc(simulated, func(pattern string) bool { ok, _ := path.Match(pattern, p.dir); return ok }) {
			continue
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && p.dir == "internal/env" && fn.Recv != nil && receiver(fn) == realEnv {
					continue
				}
				inReal(f, d, func(n ast.Node, what, instead string) {
					found = append(found, realUse{t.position(n), what, instead, f.path + " " + what})
				})
			}
		}
	}
	return found
}

// inReal calls found with each use of the real environment in a declaration. It
// goes by names and knows no types: a loop over a channel looks like any other.
func inReal(f *file, d ast.Decl, found func(n ast.Node, what, instead string)) {
	immediate := map[ast.Node]bool{} // what select statements with a default receive
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found(n, "go statement", "use Go of the environment")
		case *ast.SelectStmt:
			if !attempts(n, immediate) {
				found(n, "select statement without default", "use Wait of the environment")
			}
		case *ast.UnaryExpr:
			if n.Op == token.ARROW && !immediate[n] {
				found(n, "receive from a channel", "use Wait of the environment")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			ban, known := unreal[imported(f, x.Name)]
			if known && slices.Contains(ban.names, n.Sel.Name) != ban.but {
				found(n, x.Name+"."+n.Sel.Name, ban.instead)
			}
		}
		return true
	})
}

// attempts adds what a select statement receives to immediate, and reports
// whether it has a default. What is received in one without has been found with
// it.
func attempts(s *ast.SelectStmt, immediate map[ast.Node]bool) (hasDefault bool) {
	for _, clause := range s.Body.List {
		switch comm := clause.(*ast.CommClause).Comm.(type) {
		case nil:
			hasDefault = true
		case *ast.ExprStmt:
			immediate[ast.Unparen(comm.X)] = true
		case *ast.AssignStmt:
			immediate[ast.Unparen(comm.Rhs[0])] = true
		}
	}
	return hasDefault
}

// imported returns the path of the import that a file calls by a name.
func imported(f *file, name string) string {
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		known := strings.TrimSuffix(p, "/v2")
		if spec.Name != nil && spec.Name.Name == name || spec.Name == nil && path.Base(known) == name {
			return p
		}
	}
	return ""
}

// Each rule of the simulation finds what breaks it, and lets pass what does not.
func TestSimulationRulesFindFaults(t *testing.T) {
	for _, tt := range []struct {
		name, file, imports, body, want string // want: of the only problem; "": none
	}{
		{"clock", "network/a.go", `"time"`, "time.Now()", "network/a.go:4: time.Now: the simulator runs this package: take time from"},
		{"clock as a value", "network/a.go", `"time"`, "f(time.Now)", "time.Now"},
		{"clock by another name", "network/a.go", `t "time"`, "t.Sleep(1)", "t.Sleep"},
		{"timer", "rpc/a.go", `"time"`, "_ = time.NewTimer(1)", "time.NewTimer"},
		{"timer by a method", "rpc/a.go", `"m/internal/env"`, "e.AfterFunc(1, nil); a.Now(); time.Now()", ""},
		{"durations", "rpc/a.go", `"time"`, "_ = time.Duration(1) + time.Second", ""},
		{"elsewhere", "conn/tcp/a.go", `"time"`, "time.Now()", ""},
		{"metrics", "network/metrics/a.go", `"time"`, "time.Now()", ""},
		{"test kit", "router/routertest/a.go", `"time"`, "time.Now()", ""},
		{"test", "network/a_test.go", `"time"`, "time.Now()", ""},

		{"goroutine", "behaviors/x/a.go", "", "go f()", "go statement: the simulator runs this package: use Go of"},
		{"goroutine of the environment", "behaviors/x/a.go", "", "e.Go(f)", ""},
		{"select", "agent/a.go", "", "select { case <-c: case d <- 1: }", "select statement without default"},
		{"select for ever", "agent/a.go", "", "select {}", "select statement without default"},
		{"select with a default", "agent/a.go", "", "select { case <-c: case x := <-d: f(x); default: }", ""},
		{"receive in a default", "agent/a.go", "", "select { case <-c: default: <-c }", "receive from a channel"},
		{"receive", "codec/a.go", "", "f(<-c)", "receive from a channel"},
		{"send", "codec/a.go", "", "c <- 1", ""},
		{"group", "router/a.go", `"sync"`, "var w sync.WaitGroup", "sync.WaitGroup: the simulator runs this package: use Wait of"},
		{"condition", "router/static/a.go", `"sync"`, "var w sync.Cond", "sync.Cond"},
		{"condition with a reason", "network/outbox.go", `"sync"`, "var w sync.Cond", ""},
		{"another with it", "network/outbox.go", `"sync"`, "var w sync.WaitGroup", "sync.WaitGroup"},
		{"mutex", "router/static/a.go", `"sync"`, "var w sync.Mutex", ""},
		{"error group", "rpc/a.go", `"golang.org/x/sync/errgroup"`, "var g errgroup.Group", "errgroup.Group"},

		{"chance", "internal/wire/a.go", `"math/rand/v2"`, "rand.IntN(1)", "rand.IntN: the simulator runs this package: take randomness"},
		{"old chance", "internal/wire/a.go", `"math/rand"`, "rand.Intn(1)", "rand.Intn"},
		{"chance from a seed", "internal/wire/a.go", `"math/rand/v2"`, "var r *rand.Rand = rand.New(rand.NewPCG(1, 2)); r.IntN(1)", ""},
		{"secret", "rpc/a.go", `"crypto/rand"`, "rand.Read(nil)", "rand.Read"},

		{"timeout", "behavior/a.go", `"context"`, "context.WithTimeout(ctx, 1)", "context.WithTimeout: the simulator runs this package: use env.WithTimeout"},
		{"end of a context", "behavior/a.go", `"context"`, "context.AfterFunc(ctx, f)", "context.AfterFunc"},
		{"cancel", "behavior/a.go", `"context"`, "context.WithCancelCause(ctx)", ""},

		{"real", "internal/env/a.go", `"time"`, "}; func (Real) Now() { time.Now(); <-c; go f()", ""},
		{"real elsewhere", "network/a.go", `"time"`, "}; func (Real) Now() { time.Now()", "time.Now"},
		{"beside real", "internal/env/a.go", `"time"`, "time.Now()", "time.Now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "package p\n\n"
			if tt.imports != "" {
				text = "package p\nimport " + tt.imports + "\n\n"
			}
			got := checkSimulated(plant(t, map[string]string{tt.file: text + "func x() { " + tt.body + " }\n"}))
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
				t.Errorf("%s: problems %q, want %q", tt.file, got, tt.want)
			}
		})
	}
}
