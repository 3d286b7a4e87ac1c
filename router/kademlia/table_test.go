package kademlia

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/routertest"
)

func TestConformance(t *testing.T) {
	routertest.Run(t, func(self identity.NodeID) router.Table { return New(self) })
}

// links gives a table links 1 to n to nodes 1 to n.
func links(t *Table, n int, services ...identity.ServiceID) {
	for i := 1; i <= n; i++ {
		t.AddLink(router.Link{Conn: identity.ConnID(i), Node: id(i), Services: services})
	}
}

func TestBestOfSeveralLinks(t *testing.T) {
	table := New(id(0))
	for _, tt := range []struct {
		conn identity.ConnID
		rtt  time.Duration
		want identity.ConnID
	}{
		{3, 0, 3},
		{4, 0, 3},                     // as good, but younger
		{2, 0, 2},                     // as good, and older
		{5, 20 * time.Millisecond, 5}, // measured goes before unknown
		{6, 10 * time.Millisecond, 6},
		{7, 10 * time.Millisecond, 6},
		{6, 30 * time.Millisecond, 7}, // an update of its measure
	} {
		table.AddLink(router.Link{Conn: tt.conn, Node: id(1), RTT: tt.rtt})
		if got := table.PathToNode(id(1), 0); got != router.Forward(tt.want) {
			t.Errorf("after link %d with %v: %v, want forward:%d", tt.conn, tt.rtt, got, tt.want)
		}
	}
	if got := table.PathToNode(id(1), 7); got != router.Forward(5) {
		t.Errorf("from the best link: %v, want forward:5, the next best", got)
	}
	if got := table.PathToKey(id(1).Key(), 3); got != router.Deliver() {
		t.Errorf("key of the node that sent it over another link: %v, want deliver: it does not go back", got)
	}
	if got := table.Stats(); got != (Stats{Links: 6, Nodes: 1, Buckets: 1}) {
		t.Errorf("Stats = %+v", got)
	}
}

func TestIgnoredLinks(t *testing.T) {
	table := New(id(0))
	table.AddLink(router.Link{Conn: 1, Node: id(0), Services: []identity.ServiceID{1}})
	table.AddLink(router.Link{Conn: 2, Services: []identity.ServiceID{1}})
	table.AddLink(router.Link{Conn: 0, Node: id(1), Services: []identity.ServiceID{1}})
	table.SetNode(id(0), []identity.ServiceID{1})
	table.SetNode(identity.NodeID{}, []identity.ServiceID{1})
	table.SetNode(id(1), nil)
	if got := table.Stats(); got != (Stats{}) {
		t.Errorf("Stats = %+v, want none: links to itself, to no node and without a connection are no links", got)
	}
	links(table, 20)
	if got := table.PathToNode(identity.NodeID{}, 0); !got.IsReject() {
		t.Errorf("PathToNode(zero) = %v, want reject: it names no node", got)
	}
}

// A connection that is told of again with another node at its end moves there.
func TestLinkMoves(t *testing.T) {
	table := New(id(0))
	table.AddLink(router.Link{Conn: 1, Node: id(1), Services: []identity.ServiceID{1}})
	table.AddLink(router.Link{Conn: 1, Node: id(2), Services: []identity.ServiceID{2}})
	if got := table.PathToService(1, 0); !got.IsReject() {
		t.Errorf("service of the former node: %v, want reject", got)
	}
	if got := table.PathToNode(id(2), 0); got != router.Forward(1) {
		t.Errorf("new node: %v, want forward:1", got)
	}
	if got := table.Stats().Nodes; got != 1 {
		t.Errorf("table holds %d nodes, want 1", got)
	}
}

// What a node serves is what its newest link says; when that ends, what the
// others say.
func TestServicesOfSeveralLinks(t *testing.T) {
	table := New(id(0))
	table.AddLink(router.Link{Conn: 1, Node: id(1), Services: []identity.ServiceID{1}})
	table.AddLink(router.Link{Conn: 2, Node: id(1), Services: []identity.ServiceID{2}})
	if a, b := table.PathToService(1, 0), table.PathToService(2, 0); !a.IsReject() || b.IsReject() {
		t.Errorf("with two links: service of the old %v, of the new %v; want reject, forward", a, b)
	}
	table.RemoveLink(2)
	if a, b := table.PathToService(1, 0), table.PathToService(2, 0); a.IsReject() || !b.IsReject() {
		t.Errorf("with the old link: its service %v, of the new %v; want forward, reject", a, b)
	}
}

func TestServiceTakesTurns(t *testing.T) {
	table := New(id(0))
	links(table, 5, 9)
	count := map[identity.ConnID]int{}
	for range 500 {
		count[table.PathToService(9, 0).Conn()]++
	}
	for c := identity.ConnID(1); c <= 5; c++ {
		if count[c] != 100 {
			t.Errorf("of 500 messages connection %d took %d, want 100: turns are even", c, count[c])
		}
	}
	count = map[identity.ConnID]int{}
	for range 500 {
		count[table.PathToService(9, 2).Conn()]++
	}
	if count[2] != 0 || len(count) != 4 {
		t.Errorf("from connection 2: %v, want the four others", count)
	}
}

// Changes of who serves a service do not start the turns anew: the first would
// get all.
func TestTurnsGoOn(t *testing.T) {
	table := New(id(0))
	links(table, 3, 9)
	count := map[identity.ConnID]int{}
	for i := range 90 {
		count[table.PathToService(9, 0).Conn()]++
		table.SetNode(id(100+i), []identity.ServiceID{9})
	}
	if count[1] != 30 || count[2] != 30 || count[3] != 30 {
		t.Errorf("of 90 messages the connections took %v, want 30 each", count)
	}
}

// Whoever reads a snapshot reads it undisturbed, whatever the writer does.
func TestSnapshotsDoNotChange(t *testing.T) {
	table := New(id(0))
	links(table, 30, 1, 2)
	for i := 100; i < 120; i++ {
		table.SetNode(id(i), []identity.ServiceID{2, 3})
	}
	s := table.snap.Load()
	describe := func() string {
		text := fmt.Sprintf("%x %d %v", s.mask, len(s.peers), s.buckets)
		for i := range identity.ServiceID(10) {
			if e := s.services[i]; e != nil {
				text += fmt.Sprintf("\n%d: %t %v %v", i, e.local, e.near, e.far)
			}
		}
		return text
	}
	before := describe()
	for i := 1; i <= 60; i++ {
		table.AddLink(router.Link{Conn: identity.ConnID(100 + i), Node: id(200 + i), Services: []identity.ServiceID{2, 4}})
		table.RemoveLink(identity.ConnID(i))
		table.SetNode(id(300+i), []identity.ServiceID{1, 2, 3, 5})
		table.RemoveNode(id(100 + i))
		table.SetLocal([]identity.ServiceID{1, identity.ServiceID(i)})
	}
	if after := describe(); after != before {
		t.Errorf("the snapshot has changed from\n%s\nto\n%s", before, after)
	}
}

func TestResolveTakesTheNearest(t *testing.T) {
	table := New(id(0))
	links(table, 3, 9)
	got := map[identity.NodeID]int{}
	for range 30 {
		n, _ := table.ResolveService(9)
		got[n]++
	}
	if len(got) != 3 {
		t.Errorf("unmeasured neighbours: %d of 3 are named, want all by turns", len(got))
	}
	table.AddLink(router.Link{Conn: 1, Node: id(1), Services: []identity.ServiceID{9}, RTT: 5 * time.Millisecond})
	table.AddLink(router.Link{Conn: 3, Node: id(3), Services: []identity.ServiceID{9}, RTT: 2 * time.Millisecond})
	for range 6 {
		if n, ok := table.ResolveService(9); n != id(3) || !ok {
			t.Errorf("ResolveService = %s, %t; want the neighbour with the lowest round-trip time", n.Short(), ok)
		}
	}
}

// Messages head for the nearest node of the directory to which there is a way,
// and all such nodes are named by turns.
func TestDirectoryServices(t *testing.T) {
	table := New(id(0))
	links(table, 40)
	var near identity.NodeID
	for i := 100; i < 120; i++ {
		table.SetNode(id(i), []identity.ServiceID{9})
		if table.PathToNode(id(i), 0).IsReject() {
			continue
		}
		if near.IsZero() || id(0).Key().Closer(id(i).Key(), near.Key()) {
			near = id(i)
		}
	}
	if got, want := table.PathToService(9, 0), table.PathToNode(near, 0); got != want || got.Conn() == 0 {
		t.Errorf("PathToService = %v, want %v: towards the nearest provider", got, want)
	}
	got := map[identity.NodeID]bool{}
	for range 200 {
		n, ok := table.ResolveService(9)
		if !ok || table.PathToNode(n, 0).Conn() == 0 {
			t.Fatalf("ResolveService = %s, %t; want a node that can be reached", n.Short(), ok)
		}
		got[n] = true
	}
	if len(got) < 10 {
		t.Errorf("200 answers name %d nodes of 20, want most of them", len(got))
	}
}

func TestDirectoryIsBounded(t *testing.T) {
	table := New(id(0))
	for i := 1; i <= DefaultMaxNodes+10; i++ {
		table.SetNode(id(i), []identity.ServiceID{identity.ServiceID(i%7 + 1)})
	}
	if got := table.Stats(); got.Directory != DefaultMaxNodes || got.DroppedNodes != 10 {
		t.Errorf("Stats = %+v, want %d nodes and 10 dropped", got, DefaultMaxNodes)
	}
	table.SetNode(id(1), []identity.ServiceID{60000})
	if table.snap.Load().services[60000] == nil {
		t.Error("a node that a full directory holds cannot be updated")
	}
	table.RemoveNode(id(1))
	table.SetNode(id(DefaultMaxNodes+1), []identity.ServiceID{60001})
	if table.snap.Load().services[60001] == nil {
		t.Error("a directory that was full stays closed after a node was removed")
	}

	table = Config{MaxNodes: 2, MaxServices: 3}.New(id(0))
	table.SetNode(id(1), []identity.ServiceID{5, 4, 4, 3, 0, 2, 1})
	if got, want := table.directory[id(1)].services, []identity.ServiceID{1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("services kept: %v, want %v, the lowest", got, want)
	}
	if got := table.Stats().DroppedServices; got != 2 {
		t.Errorf("DroppedServices = %d, want 2", got)
	}
	var many []identity.ServiceID
	for i := range 1000 {
		many = append(many, identity.ServiceID(i))
	}
	if table = New(id(0)); true {
		table.SetNode(id(1), many)
	}
	if got := len(table.directory[id(1)].services); got != DefaultMaxServices {
		t.Errorf("a node with 1000 services has %d in the directory, want %d", got, DefaultMaxServices)
	}
}

// What is removed leaves nothing behind, in whatever order.
func TestNothingIsLeft(t *testing.T) {
	table := New(id(0))
	links(table, 100, 1, 2, 3)
	table.SetLocal([]identity.ServiceID{1, 2, 9})
	for i := 50; i < 150; i++ {
		table.SetNode(id(i), []identity.ServiceID{3, 4, identity.ServiceID(i)})
	}
	for i := 149; i >= 50; i-- {
		if i%2 == 0 {
			table.RemoveNode(id(i))
		} else {
			table.SetNode(id(i), nil)
		}
	}
	for i := range 100 {
		table.RemoveLink(identity.ConnID(1 + (i*37)%100))
	}
	table.SetLocal(nil)
	s := table.snap.Load()
	if len(s.peers)+len(s.buckets)+len(s.services)+len(table.links)+len(table.directory) != 0 || s.mask != (words{}) {
		t.Errorf("left: %d peers, %d buckets, %d services, %d links, %d in the directory, mask %x",
			len(s.peers), len(s.buckets), len(s.services), len(table.links), len(table.directory), s.mask)
	}
}

// A directory entry that says nothing new costs no snapshot: gossip repeats
// itself.
func TestRepeatedNewsIsFree(t *testing.T) {
	table := New(id(0))
	links(table, 10, 1)
	table.SetNode(id(20), []identity.ServiceID{2, 3})
	before := table.snap.Load()
	table.SetNode(id(20), []identity.ServiceID{3, 2, 2})
	table.AddLink(router.Link{Conn: 1, Node: id(1), Services: []identity.ServiceID{1}, RTT: time.Second})
	table.RemoveNode(id(21))
	if table.snap.Load() != before {
		t.Error("news that changes nothing published a new snapshot")
	}
}

func ExampleNew() {
	table := New(id(0))
	// A node and its discovery do this.
	table.AddLink(router.Link{Conn: 1, Node: id(1), Services: []identity.ServiceID{70}})

	fmt.Println(table.PathToNode(id(0), 0))
	fmt.Println(table.PathToNode(id(1), 0))
	fmt.Println(table.PathToService(70, 0))
	fmt.Println(table.PathToService(71, 0))
	// Output:
	// deliver
	// forward:1
	// forward:1
	// reject
}

func ExampleTable_SetNode() {
	table := New(id(0))
	table.AddLink(router.Link{Conn: 1, Node: id(1)})
	table.SetNode(id(3), []identity.ServiceID{70}) // no link to it

	node, ok := table.ResolveService(70)
	fmt.Println(node == id(3), ok, table.PathToNode(node, 0))
	// Output: true true forward:1
}

func ExampleConfig() {
	table := Config{MaxNodes: 1}.New(id(0))
	table.SetNode(id(1), []identity.ServiceID{70})
	table.SetNode(id(2), []identity.ServiceID{70})
	s := table.Stats()
	fmt.Println(s.Directory, s.DroppedNodes)
	// Output: 1 1
}
