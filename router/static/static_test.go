package static_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/routertest"
	"github.com/plexus-net/plexus/router/static"
)

// id makes a node ID that shows in failures.
func id(i int) identity.NodeID { return identity.NodeID{31: byte(i)} }

func TestConformance(t *testing.T) {
	t.Run("Local", func(t *testing.T) {
		routertest.Run(t, func(identity.NodeID) router.Table { return static.Local() })
	})
	t.Run("New", func(t *testing.T) {
		routertest.Run(t, func(self identity.NodeID) router.Table { return static.New(self, static.Routes{}) })
	})
}

// RT-19: the test routers' three paths.
func TestLocalAndConn(t *testing.T) {
	routes := []router.Route{router.ToNode(id(1)), router.ToKey(identity.Key{1}), router.ToService(1)}
	for _, r := range routes {
		if got := router.PathTo(static.Local(), r, 3); got != router.Deliver() {
			t.Errorf("Local: PathTo(%v) = %v, want deliver", r, got)
		}
		if got := router.PathTo(static.Conn(7), r, 0); got != router.Forward(7) {
			t.Errorf("Conn(7): PathTo(%v, 0) = %v, want forward:7", r, got)
		}
		if got := router.PathTo(static.Conn(7), r, 6); got != router.Forward(7) {
			t.Errorf("Conn(7): PathTo(%v, 6) = %v, want forward:7", r, got)
		}
		if got := router.PathTo(static.Conn(7), r, 7); got != router.Deliver() {
			t.Errorf("Conn(7): PathTo(%v, 7) = %v, want deliver: never back", r, got)
		}
	}
}

func TestRoutes(t *testing.T) {
	// 1 is this node, 2 and 3 are neighbours, 4 is behind 2, 5 behind 9, which
	// is no neighbour.
	table := static.New(id(1), static.Routes{
		Nodes:    map[identity.NodeID]identity.NodeID{id(4): id(2), id(5): id(9), id(3): id(2)},
		Services: map[identity.ServiceID]identity.NodeID{10: id(4), 11: id(1), 12: id(5)},
	})
	table.AddLink(router.Link{Conn: 2, Node: id(2)})
	table.AddLink(router.Link{Conn: 3, Node: id(3), Services: []identity.ServiceID{12, 13}})
	table.SetLocal([]identity.ServiceID{14})
	for _, tt := range []struct {
		name string
		r    router.Route
		in   identity.ConnID
		want router.Action
	}{
		{"self", router.ToNode(id(1)), 2, router.Deliver()},
		{"neighbour", router.ToNode(id(2)), 0, router.Forward(2)},
		{"behind a neighbour", router.ToNode(id(4)), 3, router.Forward(2)},
		{"behind where it came from", router.ToNode(id(4)), 2, router.Reject()},
		{"next hop has no link", router.ToNode(id(5)), 0, router.Reject()},
		{"a fixed route goes before a link", router.ToNode(id(3)), 0, router.Forward(2)},
		{"but not back", router.ToNode(id(3)), 2, router.Forward(3)},
		{"unknown node", router.ToNode(id(6)), 0, router.Reject()},
		{"fixed service", router.ToService(10), 0, router.Forward(2)},
		{"fixed service here", router.ToService(11), 2, router.Deliver()},
		{"fixed service unreachable, neighbour serves it", router.ToService(12), 0, router.Forward(3)},
		{"service of a neighbour", router.ToService(13), 2, router.Forward(3)},
		{"local service", router.ToService(14), 0, router.Deliver()},
		{"unknown service", router.ToService(15), 0, router.Reject()},
		{"key of a node behind a neighbour", router.ToKey(id(4).Key()), 0, router.Forward(2)},
		{"key of this node", router.ToKey(id(1).Key()), 2, router.Deliver()},
	} {
		if got := router.PathTo(table, tt.r, tt.in); got != tt.want {
			t.Errorf("%s: PathTo(%v, %d) = %v, want %v", tt.name, tt.r, tt.in, got, tt.want)
		}
	}
}

func TestDefault(t *testing.T) {
	leaf := static.New(id(1), static.Routes{Default: id(2)})
	everything := []router.Route{router.ToNode(id(7)), router.ToKey(id(7).Key()), router.ToKey(id(1).Key()), router.ToService(7)}
	for _, r := range everything {
		if got := router.PathTo(leaf, r, 0); got.Conn() != 0 {
			t.Errorf("before the gateway is linked: PathTo(%v) = %v", r, got)
		}
	}
	leaf.AddLink(router.Link{Conn: 5, Node: id(2)})
	leaf.AddLink(router.Link{Conn: 6, Node: id(3), Services: []identity.ServiceID{8}})
	for _, r := range everything {
		if got := router.PathTo(leaf, r, 0); got != router.Forward(5) {
			t.Errorf("PathTo(%v) = %v, want forward:5, the gateway", r, got)
		}
	}
	for _, tt := range []struct {
		r    router.Route
		in   identity.ConnID
		want router.Action
	}{
		{router.ToKey(id(1).Key()), 5, router.Deliver()}, // the gateway chose this node
		{router.ToKey(id(3).Key()), 5, router.Forward(6)},
		{router.ToNode(id(3)), 5, router.Forward(6)},
		{router.ToNode(id(7)), 5, router.Reject()},
		{router.ToService(8), 0, router.Forward(6)},
		{router.ToService(7), 5, router.Reject()},
	} {
		if got := router.PathTo(leaf, tt.r, tt.in); got != tt.want {
			t.Errorf("PathTo(%v, %d) = %v, want %v", tt.r, tt.in, got, tt.want)
		}
	}
}

func TestBestOfSeveralLinks(t *testing.T) {
	table := static.New(id(1), static.Routes{})
	for _, l := range []struct {
		conn identity.ConnID
		rtt  time.Duration
		want identity.ConnID
	}{
		{1, 0, 1},
		{2, 0, 1},                     // as good, but younger
		{3, 20 * time.Millisecond, 3}, // measured goes before unknown
		{4, 10 * time.Millisecond, 4},
		{5, 10 * time.Millisecond, 4},
	} {
		table.AddLink(router.Link{Conn: l.conn, Node: id(2), RTT: l.rtt})
		if got := table.PathToNode(id(2), 0); got != router.Forward(l.want) {
			t.Errorf("after link %d with %v: %v, want forward:%d", l.conn, l.rtt, got, l.want)
		}
	}
	table.AddLink(router.Link{Conn: 0, Node: id(3)})
	table.AddLink(router.Link{Conn: 9})
	table.AddLink(router.Link{Conn: 9, Node: id(1)})
	if got := table.PathToNode(id(3), 0); !got.IsReject() {
		t.Errorf("a link without a connection is used: %v", got)
	}
	if got := table.PathToNode(identity.NodeID{}, 0); !got.IsReject() {
		t.Errorf("a link to the zero node is used: %v", got)
	}
}

// The maps stay the caller's.
func TestRoutesAreCopied(t *testing.T) {
	nodes := map[identity.NodeID]identity.NodeID{id(3): id(2)}
	table := static.New(id(1), static.Routes{Nodes: nodes})
	delete(nodes, id(3))
	table.AddLink(router.Link{Conn: 2, Node: id(2)})
	if got := table.PathToNode(id(3), 0); got != router.Forward(2) {
		t.Errorf("PathToNode = %v after the caller changed its map, want forward:2", got)
	}
}

// The node b in the line a - b - c - d.
func ExampleNew() {
	a, b, c, d := id(1), id(2), id(3), id(4)
	table := static.New(b, static.Routes{Nodes: map[identity.NodeID]identity.NodeID{d: c}})
	table.AddLink(router.Link{Conn: 1, Node: a}) // a node does this
	table.AddLink(router.Link{Conn: 2, Node: c})

	fmt.Println(table.PathToNode(d, 1))
	fmt.Println(table.PathToNode(b, 1))
	fmt.Println(table.PathToNode(d, 2)) // never back to where it came from
	// Output:
	// forward:2
	// deliver
	// reject
}

func ExampleLocal() {
	fmt.Println(static.Local().PathToService(70, 0))
	// Output: deliver
}

func ExampleConn() {
	fmt.Println(static.Conn(1).PathToService(70, 0))
	// Output: forward:1
}
