package routertest

import (
	"slices"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// cases are the rules. Those that need nothing hold for every table.
var cases = []testCase{
	{name: "self", run: self,
		rule: "A message to the node itself has arrived, wherever it came from and whatever the links."},
	{name: "alone", run: alone,
		rule: "A table without links forwards nothing: nodes that it does not know it rejects or delivers, keys it delivers."},
	{name: "key always answered", run: keyAnswered,
		rule: "PathToKey is never Reject: where the table knows no closer node, it delivers here."},
	{name: "never back", needs: learner, run: neverBack,
		rule: "The connection that a message came in on is never the answer."},
	{name: "never forward to zero", needs: learner, run: neverZero,
		rule: "Every answer is Reject, Deliver or Forward over a connection that the table was told of."},
	{name: "neighbour", needs: learner, run: neighbour,
		rule: "A node at the other end of a link is reached over that link."},
	{name: "removed", needs: learner, run: removed,
		rule: "A removed connection is never the answer again."},
	{name: "replaced", needs: learner, run: replaced,
		rule: "Removing an old connection to a node leaves the newer one to the same node in use."},
	{name: "unknown removed", needs: learner, run: unknownRemoved,
		rule: "Removing a connection that the table does not have changes nothing."},
	{name: "updated", needs: learner, run: updated,
		rule: "AddLink of a connection that the table has replaces what it knew: services come and go, and one removal ends it."},
	{name: "copies", needs: learner, run: copies,
		rule: "A table copies the slices that it is given: the caller may change them."},
	{name: "services", needs: learner, run: services,
		rule: "A service is delivered where it is local, else forwarded to a neighbour that serves it, else rejected."},
	{name: "service elsewhere", needs: learner, run: serviceElsewhere,
		rule: "With one of two providers behind in, or gone, the other one is the answer."},
	{name: "one owner", needs: learner, run: oneOwner,
		rule: "Of two connected nodes exactly one owns a key: the one that is closer to it, which delivers; the other forwards to it."},
	{name: "same answer", needs: learner, run: sameAnswer,
		rule: "The answer for a node or key depends on the links alone, not on the order in which they were added or removed."},
	{name: "directory", needs: learner | directory, run: directoryRules,
		rule: "A service that only a node of the directory serves is forwarded, and rejected once the node is forgotten."},
	{name: "directory self", needs: learner | directory, run: directorySelf,
		rule: "What the directory says of the node itself or its neighbours does not make them serve what they do not say themselves."},
	{name: "resolve", needs: learner | resolver, run: resolve,
		rule: "ResolveService names this node if it serves the service, else a node to which PathToNode forwards, else none."},
	{name: "resolve directory", needs: learner | directory | resolver, run: resolveDirectory,
		rule: "ResolveService names a node of the directory only if there is a way to it."},
	{name: "no allocation", run: noAllocation,
		rule: "Lookups allocate nothing: they run for every message."},
	{name: "concurrent", needs: learner, run: concurrent,
		rule: "Lookups may run while links come and go, and never answer with a connection that was removed before they began."},
	{name: "no lock", needs: learner, run: noLock,
		rule: "Lookups never wait for a writer: publish snapshots through an atomic pointer."},
}

func self(f *fixture) {
	f.expect("PathToNode(self, 0) without links", f.PathToNode(f.self, 0), router.Deliver())
	if f.can&learner != 0 {
		f.link(1, node(1), 1)
		f.link(2, node(2), 1)
	}
	for in := range identity.ConnID(3) {
		f.expect("PathToNode(self, "+in.String()+")", f.PathToNode(f.self, in), router.Deliver())
	}
}

func alone(f *fixture) {
	f.paths(0, func(what string, a router.Action) {
		if a.Conn() != 0 {
			f.errorf("%s = %v, want no forwarding", what, a)
		}
	})
}

func keyAnswered(f *fixture) {
	for links := range 8 {
		if links > 0 && f.can&learner != 0 {
			f.link(identity.ConnID(links), node(links))
		}
		for in := range identity.ConnID(links + 1) {
			for i := range 50 {
				if f.PathToKey(key(i), in).IsReject() {
					f.errorf("with %d links PathToKey(key %d, %d) = reject", links, i, in)
				}
			}
		}
	}
}

// populate gives the table links 1 to 20 to nodes 1 to 20, services 1 to 4
// among them, and where it can be told of others, nodes 21 to 30 with services
// 4 and 5.
func (f *fixture) populate() {
	for i := 1; i <= 20; i++ {
		f.link(identity.ConnID(i), node(i), identity.ServiceID(1+i%4))
	}
	if f.can&directory != 0 {
		for i := 21; i <= 30; i++ {
			f.SetNode(node(i), []identity.ServiceID{4, 5})
		}
	}
}

func neverBack(f *fixture) {
	f.populate()
	for in := identity.ConnID(1); in <= 20; in++ {
		f.paths(in, func(what string, a router.Action) {
			if a.Conn() == in {
				f.errorf("%s = %v", what, a)
			}
		})
	}
}

func neverZero(f *fixture) {
	f.populate()
	f.paths(0, func(what string, a router.Action) {
		switch {
		case a == router.Reject(), a == router.Deliver():
		case a.Conn() < 1 || a.Conn() > 20 || a.IsDeliver():
			f.errorf("%s = %v", what, a)
		}
	})
}

func neighbour(f *fixture) {
	f.populate()
	for i := 1; i <= 20; i++ {
		f.expect("PathToNode to a neighbour", f.PathToNode(node(i), 0), router.Forward(identity.ConnID(i)))
		f.expect("PathToNode to a neighbour from another", f.PathToNode(node(i), 99), router.Forward(identity.ConnID(i)))
	}
}

func removed(f *fixture) {
	f.populate()
	for gone := identity.ConnID(1); gone <= 20; gone++ {
		f.RemoveLink(gone)
		f.paths(0, func(what string, a router.Action) {
			if a.Conn() != 0 && a.Conn() <= gone {
				f.errorf("%s = %v after connections up to %d were removed", what, a, gone)
			}
		})
	}
	for i := range 20 {
		f.expect("PathToKey with every link removed", f.PathToKey(key(i), 0), router.Deliver())
	}
}

func replaced(f *fixture) {
	f.link(1, node(1), 1)
	f.link(2, node(1), 1)
	f.RemoveLink(1)
	f.expect("PathToNode after connection 1 gave way to 2", f.PathToNode(node(1), 0), router.Forward(2))
	f.expect("PathToService after connection 1 gave way to 2", f.PathToService(1, 0), router.Forward(2))
	f.link(3, node(1), 1)
	f.RemoveLink(3)
	f.expect("PathToNode after connection 3 came and went", f.PathToNode(node(1), 0), router.Forward(2))
	f.RemoveLink(2)
	if a := f.PathToNode(node(1), 0); a.Conn() != 0 {
		f.errorf("PathToNode with every connection removed = %v", a)
	}
	f.expect("PathToService with every connection removed", f.PathToService(1, 0), router.Reject())
}

func unknownRemoved(f *fixture) {
	f.RemoveLink(7)
	f.link(1, node(1))
	f.RemoveLink(0)
	f.RemoveLink(7)
	f.expect("PathToNode after removing unknown connections", f.PathToNode(node(1), 0), router.Forward(1))
}

func updated(f *fixture) {
	f.link(1, node(1), 1)
	f.AddLink(router.Link{Conn: 1, Node: node(1), Services: []identity.ServiceID{2}, RTT: 5 * time.Millisecond})
	f.expect("PathToService(1), served no more", f.PathToService(1, 0), router.Reject())
	f.expect("PathToService(2), served now", f.PathToService(2, 0), router.Forward(1))
	f.link(1, node(1), 5, 2, 4, 5, 3)
	f.link(1, node(1), 4, 2)
	f.expect("PathToService(5), listed twice, served no more", f.PathToService(5, 0), router.Reject())
	f.expect("PathToService(3), served no more", f.PathToService(3, 0), router.Reject())
	f.expect("PathToService(4), served still", f.PathToService(4, 0), router.Forward(1))
	f.AddLink(router.Link{Conn: 1, Node: node(1), RTT: 5 * time.Millisecond})
	f.expect("PathToService(4), served no more", f.PathToService(4, 0), router.Reject())
	f.expect("PathToService(2), served no more", f.PathToService(2, 0), router.Reject())
	f.expect("PathToNode", f.PathToNode(node(1), 0), router.Forward(1))
	f.RemoveLink(1)
	if a := f.PathToNode(node(1), 0); a.Conn() != 0 {
		f.errorf("PathToNode = %v after the only connection, updated twice, was removed", a)
	}
}

func copies(f *fixture) {
	s := []identity.ServiceID{1, 2}
	f.AddLink(router.Link{Conn: 1, Node: node(1), Services: s})
	s[0], s[1] = 8, 9
	f.expect("PathToService(2) of a link", f.PathToService(2, 0), router.Forward(1))
	f.expect("PathToService(9) of nobody", f.PathToService(9, 0), router.Reject())
	if s[0] != 8 || s[1] != 9 {
		f.errorf("AddLink changed the caller's slice to %v", s)
	}
	f.RemoveLink(1)
	f.expect("PathToService(2) of a removed link", f.PathToService(2, 0), router.Reject())
	s = []identity.ServiceID{4, 3}
	f.SetLocal(s)
	if !slices.Equal(s, []identity.ServiceID{4, 3}) {
		f.errorf("SetLocal changed the caller's slice to %v", s)
	}
	s[0], s[1] = 8, 9
	f.link(2, node(2)) // makes the table look at what it kept
	f.expect("PathToService(3), local", f.PathToService(3, 0), router.Deliver())
	f.expect("PathToService(9), of nobody", f.PathToService(9, 0), router.Reject())
}

func services(f *fixture) {
	f.link(1, node(1), 1, 2)
	f.SetLocal([]identity.ServiceID{1})
	f.expect("PathToService, local and remote", f.PathToService(1, 0), router.Deliver())
	f.expect("PathToService, local, from elsewhere", f.PathToService(1, 1), router.Deliver())
	f.expect("PathToService, remote", f.PathToService(2, 0), router.Forward(1))
	f.expect("PathToService, remote, where it came from", f.PathToService(2, 1), router.Reject())
	f.expect("PathToService, unknown", f.PathToService(3, 0), router.Reject())
	f.expect("PathToService(0), which names none", f.PathToService(0, 0), router.Reject())
	f.SetLocal([]identity.ServiceID{3})
	f.expect("PathToService, no longer local", f.PathToService(1, 0), router.Forward(1))
	f.expect("PathToService, local now", f.PathToService(3, 0), router.Deliver())
	f.SetLocal(nil)
	f.expect("PathToService, removed", f.PathToService(3, 0), router.Reject())
}

func serviceElsewhere(f *fixture) {
	f.link(1, node(1), 1)
	f.link(2, node(2), 1)
	for range 4 { // tables may take turns
		f.expect("PathToService from one of two providers", f.PathToService(1, 1), router.Forward(2))
		f.expect("PathToService from one of two providers", f.PathToService(1, 2), router.Forward(1))
	}
	f.RemoveLink(1)
	for range 4 {
		f.expect("PathToService with one of two providers gone", f.PathToService(1, 0), router.Forward(2))
	}
}

func oneOwner(f *fixture) {
	for pair := range 30 {
		a, b := node(2*pair), node(2*pair+1)
		f.use(a)
		f.link(1, b)
		first := f.Table
		f.use(b)
		f.link(1, a)
		for i := range 30 {
			k := key(100*pair + i)
			want, other := router.Deliver(), router.Forward(1)
			if k.Closer(b.Key(), a.Key()) {
				want, other = other, want
			}
			f.expect("PathToKey at one of two nodes", first.PathToKey(k, 0), want)
			f.expect("PathToKey at the other", f.PathToKey(k, 0), other)
		}
	}
}

func sameAnswer(f *fixture) {
	f.populate()
	first := f.Table
	f.use(f.self)
	for i := 40; i >= 1; i-- {
		f.link(identity.ConnID(i), node(i))
	}
	for i := 40; i > 20; i-- {
		f.RemoveLink(identity.ConnID(i))
	}
	for i := range 60 {
		f.expect("PathToNode, links added in another order", f.PathToNode(node(i), 0), first.PathToNode(node(i), 0))
		f.expect("PathToKey, links added in another order", f.PathToKey(key(i), 0), first.PathToKey(key(i), 0))
	}
}
