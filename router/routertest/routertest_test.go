package routertest

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// good is the simplest table that keeps every rule but "no lock". The flags
// break it, one rule at a time.
type good struct {
	self identity.NodeID
	bad  string

	mu    sync.RWMutex
	links []router.Link
	local []identity.ServiceID
	known map[identity.NodeID][]identity.ServiceID
}

func (g *good) lock() {
	g.mu.RLock()
	if g.bad == "allocates" {
		sink.Store(new(int))
	}
}

var sink atomic.Pointer[int]

// closer returns the link to the node closest to a key, if closer than self.
func (g *good) closer(key identity.Key, in identity.ConnID) router.Action {
	best, at := router.Reject(), g.self.Key()
	for _, l := range g.links {
		if (l.Conn != in || g.bad == "back") && key.Closer(l.Node.Key(), at) {
			best, at = router.Forward(l.Conn), l.Node.Key()
		}
	}
	return best
}

func (g *good) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	g.lock()
	defer g.mu.RUnlock()
	if dest == g.self && g.bad != "no self" {
		return router.Deliver()
	}
	if g.bad == "guess" {
		return router.Forward(77)
	}
	return g.closer(dest.Key(), in)
}

func (g *good) PathToKey(key identity.Key, in identity.ConnID) router.Action {
	g.lock()
	defer g.mu.RUnlock()
	if a := g.closer(key, in); !a.IsReject() || g.bad == "key rejected" {
		return a
	}
	if g.bad == "never owns" && len(g.links) > 0 && g.links[0].Conn != in {
		return router.Forward(g.links[0].Conn)
	}
	return router.Deliver()
}

func (g *good) PathToService(id identity.ServiceID, in identity.ConnID) router.Action {
	g.lock()
	defer g.mu.RUnlock()
	if slices.Contains(g.local, id) && g.bad != "no local" {
		return router.Deliver()
	}
	for _, l := range g.links {
		if slices.Contains(l.Services, id) && l.Conn != in {
			return router.Forward(l.Conn)
		}
	}
	for n, services := range g.known {
		if slices.Contains(services, id) && (!g.linked(n) || g.bad == "hearsay") {
			if a := g.closer(n.Key(), in); !a.IsReject() {
				return a
			}
		}
	}
	return router.Reject()
}

func (g *good) linked(n identity.NodeID) bool {
	return slices.ContainsFunc(g.links, func(l router.Link) bool { return l.Node == n })
}

func (g *good) ResolveService(id identity.ServiceID) (identity.NodeID, bool) {
	g.lock()
	defer g.mu.RUnlock()
	if slices.Contains(g.local, id) {
		return g.self, true
	}
	for _, l := range g.links {
		if slices.Contains(l.Services, id) {
			return l.Node, true
		}
	}
	for n, services := range g.known {
		if slices.Contains(services, id) && (!g.closer(n.Key(), 0).IsReject() || g.bad == "resolves blindly") {
			return n, true
		}
	}
	return identity.NodeID{}, false
}

func (g *good) AddLink(l router.Link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bad != "keeps slices" {
		l.Services = slices.Clone(l.Services)
	}
	same := func(o router.Link) bool { return o.Conn == l.Conn }
	if g.bad == "one per node" {
		same = func(o router.Link) bool { return o.Node == l.Node }
	}
	if i := slices.IndexFunc(g.links, same); i >= 0 && g.bad != "no update" {
		g.links[i] = l
		return
	}
	g.links = append(g.links, l)
}

func (g *good) RemoveLink(id identity.ConnID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.links, func(l router.Link) bool { return l.Conn == id })
	switch {
	case i < 0 && g.bad == "panics":
		panic("no such link")
	case i < 0 || g.bad == "no removal":
	case g.bad == "removes node":
		n := g.links[i].Node
		g.links = slices.DeleteFunc(g.links, func(l router.Link) bool { return l.Node == n })
	default:
		g.links = slices.Delete(g.links, i, i+1)
	}
}

func (g *good) SetLocal(services []identity.ServiceID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.local = slices.Clone(services)
}

func (g *good) SetNode(id identity.NodeID, services []identity.ServiceID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil {
		g.known = map[identity.NodeID][]identity.ServiceID{}
	}
	if g.known[id] = slices.Clone(services); g.bad == "keeps slices" {
		g.known[id] = services
	}
}

func (g *good) RemoveNode(id identity.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bad != "never forgets" {
		delete(g.known, id)
	}
}

// baseline is good with its lock.
const baseline = "nothing else"

// failed runs the suite on a broken table and returns the cases that fail.
func failed(t *testing.T, bad string) []string {
	t.Helper()
	var names []string
	for _, c := range cases {
		if bad != baseline && (c.name == "no lock" || c.name == "concurrent") {
			continue // slow where there is a lock
		}
		problems, _ := c.check(func(self identity.NodeID) router.Table { return &good{self: self, bad: bad} })
		if len(problems) > 0 {
			names = append(names, c.name)
			t.Logf("%s: %s\nrule: %s", c.name, problems[0], c.rule)
		}
		if len(problems) > maxProblems+1 {
			t.Errorf("case %q prints %d problems", c.name, len(problems))
		}
	}
	return names
}

func TestSuiteFindsFaults(t *testing.T) {
	for _, tt := range []struct{ bad, want string }{
		{baseline, "no lock"},
		{"no self", "self"},
		{"guess", "never forward to zero"},
		{"key rejected", "key always answered"},
		{"back", "never back"},
		{"never owns", "one owner"},
		{"no local", "services"},
		{"keeps slices", "copies"},
		{"no update", "updated"},
		{"no removal", "removed"},
		{"one per node", "replaced"},
		{"removes node", "replaced"},
		{"panics", "unknown removed"},
		{"never forgets", "directory"},
		{"hearsay", "directory self"},
		{"resolves blindly", "resolve directory"},
		{"allocates", "no allocation"},
	} {
		t.Run(tt.bad, func(t *testing.T) {
			got := failed(t, tt.bad)
			if !slices.Contains(got, tt.want) {
				t.Errorf("cases that fail: %q; want %q among them", got, tt.want)
			}
			if tt.bad == baseline && len(got) > 1 {
				t.Errorf("cases that fail on a table that keeps every other rule: %q", got)
			}
		})
	}
}

// The suite skips what a table does not claim to do, and says which interface
// is missing.
func TestSuiteSkips(t *testing.T) {
	bare := func(identity.NodeID) router.Table {
		return struct{ router.Table }{&good{}} // hides all but Table
	}
	n := 0
	for _, c := range cases {
		if _, skipped := c.check(bare); skipped {
			n++
			if !strings.HasPrefix(c.needs.String(), "router.") {
				t.Errorf("case %q is skipped for want of %q", c.name, c.needs)
			}
		} else if c.needs != 0 {
			t.Errorf("case %q runs without its %s", c.name, c.needs)
		}
	}
	if n == 0 || n == len(cases) {
		t.Errorf("%d of %d cases are skipped", n, len(cases))
	}
	if got, want := (learner | resolver).String(), "router.Learner and router.Resolver"; got != want {
		t.Errorf("need prints as %q, want %q", got, want)
	}
}

func TestCasesStateRules(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.name] || !strings.HasSuffix(c.rule, ".") || c.run == nil {
			t.Errorf("case %q is listed twice or has no rule", c.name)
		}
		seen[c.name] = true
	}
}
