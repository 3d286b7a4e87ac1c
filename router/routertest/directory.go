package routertest

import (
	"slices"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// towards links the table to node 1 and returns nodes beyond it: ones to which
// the table then has a way, and ones to which it has none.
func (f *fixture) towards() (near, far []identity.NodeID) {
	f.link(1, node(1))
	for i := 2; len(near) < 4 || len(far) < 4; i++ {
		if i > 1000 {
			break // a table that has a way to every node, or to none
		}
		if f.PathToNode(node(i), 0).Conn() != 0 {
			near = append(near, node(i))
		} else {
			far = append(far, node(i))
		}
	}
	return near, far
}

func directoryRules(f *fixture) {
	near, _ := f.towards()
	if len(near) == 0 {
		return // nothing beyond its links can be reached by this table
	}
	s := []identity.ServiceID{9, 8}
	f.SetNode(near[0], s)
	if !slices.Equal(s, []identity.ServiceID{9, 8}) {
		f.errorf("SetNode changed the caller's slice to %v", s)
	}
	s[0], s[1] = 6, 5
	f.expect("PathToService(8) of the directory", f.PathToService(8, 0), router.Forward(1))
	f.expect("PathToService(8) where it came from", f.PathToService(8, 1), router.Reject())
	f.expect("PathToService(6) of nobody", f.PathToService(6, 0), router.Reject())
	f.SetNode(near[0], []identity.ServiceID{7})
	f.expect("PathToService(8), served no more", f.PathToService(8, 0), router.Reject())
	f.expect("PathToService(7), served now", f.PathToService(7, 0), router.Forward(1))
	f.link(2, node(2), 7)
	for range 4 {
		f.expect("PathToService(7), which a neighbour serves too", f.PathToService(7, 0), router.Forward(2))
	}
	f.RemoveLink(2)
	f.RemoveNode(near[0])
	f.RemoveNode(near[0])
	f.expect("PathToService(7) of a forgotten node", f.PathToService(7, 0), router.Reject())
}

func directorySelf(f *fixture) {
	f.link(1, node(1), 1)
	f.SetNode(f.self, []identity.ServiceID{2})
	f.SetNode(node(1), []identity.ServiceID{2})
	f.expect("PathToService of a service that only the directory says the neighbour serves", f.PathToService(2, 0), router.Reject())
	f.RemoveNode(node(1))
	f.RemoveNode(f.self)
	f.expect("PathToNode to a neighbour that the directory forgot", f.PathToNode(node(1), 0), router.Forward(1))
	f.expect("PathToService of a neighbour that the directory forgot", f.PathToService(1, 0), router.Forward(1))
}

// expectNode compares what a service resolves to with the nodes that it may;
// none means that it must not resolve.
func (f *fixture) expectNode(what string, id identity.ServiceID, want ...identity.NodeID) {
	for range 4 {
		got, ok := f.ResolveService(id)
		if ok != (len(want) > 0) || ok && !slices.Contains(want, got) {
			f.errorf("%s: ResolveService(%d) = %s, %t; want one of %d", what, id, got.Short(), ok, len(want))
			return
		}
		if ok && got != f.self && f.PathToNode(got, 0).Conn() == 0 {
			f.errorf("%s: ResolveService(%d) names a node to which there is no way", what, id)
			return
		}
	}
}

func resolve(f *fixture) {
	f.expectNode("without links", 1)
	f.link(1, node(1), 1)
	f.link(2, node(2), 1, 2)
	f.expectNode("two neighbours", 1, node(1), node(2))
	f.expectNode("one neighbour", 2, node(2))
	f.expectNode("unknown", 3)
	f.SetLocal([]identity.ServiceID{2})
	f.expectNode("local", 2, f.self)
	f.RemoveLink(2)
	f.expectNode("one of two gone", 1, node(1))
	f.SetLocal(nil)
	f.expectNode("gone", 2)
}

func resolveDirectory(f *fixture) {
	near, far := f.towards()
	for _, n := range far {
		f.SetNode(n, []identity.ServiceID{5})
	}
	f.expectNode("unreachable", 5)
	for _, n := range near {
		f.SetNode(n, []identity.ServiceID{5})
	}
	f.expectNode("reachable among others", 5, near...)
	f.link(2, node(1001), 5)
	f.expectNode("a neighbour goes first", 5, node(1001))
}
