// Package static has routing tables that never discover anything: what they
// know is written down beforehand.
//
// [Local] delivers everything to the node itself, for a node alone and for
// tests. [Conn] sends everything out on one connection. [New] makes a table of
// fixed routes, for networks that somebody drew:
//
//	// a leaf: everything else goes to its gateway
//	leaf := static.New(self, static.Routes{Default: gateway})
//
//	// the node b in the line a - b - c - d
//	middle := static.New(b, static.Routes{Nodes: map[identity.NodeID]identity.NodeID{d: c}})
//
// Neighbours need no entry: the table is told of connections and uses them.
// Routes that contradict each other from node to node make loops, which the TTL
// of messages ends.
package static

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// Local returns the table that delivers everything here.
func Local() router.Table { return local{} }

type local struct{}

func (local) PathToNode(identity.NodeID, identity.ConnID) router.Action { return router.Deliver() }

func (local) PathToKey(identity.Key, identity.ConnID) router.Action { return router.Deliver() }

func (local) PathToService(identity.ServiceID, identity.ConnID) router.Action {
	return router.Deliver()
}

// Conn returns the table that sends everything out on one connection. What
// comes in on that connection is delivered, so that two nodes can use it
// towards each other.
func Conn(id identity.ConnID) router.Table { return toConn(id) }

type toConn identity.ConnID

func (c toConn) path(in identity.ConnID) router.Action {
	if in == identity.ConnID(c) {
		return router.Deliver()
	}
	return router.Forward(identity.ConnID(c))
}

func (c toConn) PathToNode(_ identity.NodeID, in identity.ConnID) router.Action { return c.path(in) }

func (c toConn) PathToKey(_ identity.Key, in identity.ConnID) router.Action { return c.path(in) }

func (c toConn) PathToService(_ identity.ServiceID, in identity.ConnID) router.Action {
	return c.path(in)
}

// Routes are the fixed routes of a table. A route whose next hop has no live
// connection counts as absent.
type Routes struct {
	// Nodes says which node is the next hop towards a node. It goes before a
	// connection to the node itself.
	Nodes map[identity.NodeID]identity.NodeID
	// Services says which node serves a service; the way to it is the way to
	// that node. It goes before neighbours that say they serve it.
	Services map[identity.ServiceID]identity.NodeID
	// Default is the next hop of everything that has no other way, and of all
	// keys: the gateway of a leaf. Default none.
	Default identity.NodeID
}

// A Table holds fixed routes and the live connections to follow them over. It
// is a [router.Table] and a [router.Learner]. It is no [router.Resolver]: what
// lies behind a default it could not name.
//
// Without a default, a key belongs to the closest of this node, its neighbours
// and the nodes that Routes.Nodes leads to.
type Table struct {
	self   identity.NodeID
	routes Routes
	snap   atomic.Pointer[snapshot]

	mu    sync.Mutex // guards what follows, and the publishing of snap
	links map[identity.ConnID]router.Link
	local []identity.ServiceID
}

var (
	_ router.Table   = (*Table)(nil)
	_ router.Learner = (*Table)(nil)
)

// New makes a table of fixed routes for a node. It copies them.
func New(self identity.NodeID, routes Routes) *Table {
	routes.Nodes, routes.Services = maps.Clone(routes.Nodes), maps.Clone(routes.Services)
	t := &Table{self: self, routes: routes, links: map[identity.ConnID]router.Link{}}
	t.publish()
	return t
}

// AddLink implements [router.Learner].
func (t *Table) AddLink(l router.Link) {
	if l.Conn == 0 || l.Node.IsZero() || l.Node == t.self {
		return
	}
	l.Services = slices.Clone(l.Services)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links[l.Conn] = l
	t.publish()
}

// RemoveLink implements [router.Learner].
func (t *Table) RemoveLink(id identity.ConnID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.links, id)
	t.publish()
}

// SetLocal implements [router.Learner].
func (t *Table) SetLocal(services []identity.ServiceID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.local = slices.Clone(services)
	t.publish()
}

// A snapshot is what lookups read. It never changes.
type snapshot struct {
	hops   map[identity.NodeID][]identity.ConnID // to neighbours, the best first
	local  map[identity.ServiceID]bool
	remote map[identity.ServiceID][]identity.NodeID // neighbours, the best first
	owners []owner                                  // besides self, who may own keys
}

type owner struct {
	node identity.NodeID
	at   identity.Key
}

// publish makes the snapshot anew. The caller holds mu, or the table is new.
func (t *Table) publish() {
	s := &snapshot{
		hops:   map[identity.NodeID][]identity.ConnID{},
		local:  map[identity.ServiceID]bool{},
		remote: map[identity.ServiceID][]identity.NodeID{},
	}
	links := slices.SortedFunc(maps.Values(t.links), func(a, b router.Link) int {
		return cmp.Or(cmp.Compare(uint64(a.RTT-1), uint64(b.RTT-1)), cmp.Compare(a.Conn, b.Conn)) // 0, unknown, comes last
	})
	for _, l := range links {
		s.hops[l.Node] = append(s.hops[l.Node], l.Conn)
		for _, id := range l.Services {
			if !slices.Contains(s.remote[id], l.Node) {
				s.remote[id] = append(s.remote[id], l.Node)
			}
		}
	}
	for _, id := range t.local {
		s.local[id] = true
	}
	for node := range s.hops {
		s.owners = append(s.owners, owner{node, node.Key()})
	}
	for node := range t.routes.Nodes {
		if s.hops[node] == nil {
			s.owners = append(s.owners, owner{node, node.Key()})
		}
	}
	t.snap.Store(s)
}

// PathToNode implements [router.Table].
func (t *Table) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	if dest == t.self {
		return router.Deliver()
	}
	s := t.snap.Load()
	if c := t.way(s, dest, in); c != 0 {
		return router.Forward(c)
	}
	return router.Forward(s.hop(t.routes.Default, in))
}

// PathToKey implements [router.Table].
func (t *Table) PathToKey(key identity.Key, in identity.ConnID) router.Action {
	s := t.snap.Load()
	if c := s.hop(t.routes.Default, in); c != 0 {
		return router.Forward(c)
	}
	// Where a default is set but is where the message came from, the gateway
	// has chosen this node, or the nodes behind it.
	var way identity.ConnID
	nearest := t.self.Key()
	for i := range s.owners {
		o := &s.owners[i]
		if !key.Closer(o.at, nearest) {
			continue
		}
		if c := t.way(s, o.node, in); c != 0 {
			way, nearest = c, o.at
		}
	}
	if way == 0 {
		return router.Deliver()
	}
	return router.Forward(way)
}

// PathToService implements [router.Table].
func (t *Table) PathToService(id identity.ServiceID, in identity.ConnID) router.Action {
	s := t.snap.Load()
	if s.local[id] {
		return router.Deliver()
	}
	if node, ok := t.routes.Services[id]; ok {
		if node == t.self {
			return router.Deliver()
		}
		if c := t.way(s, node, in); c != 0 {
			return router.Forward(c)
		}
	}
	for _, node := range s.remote[id] {
		if c := s.hop(node, in); c != 0 {
			return router.Forward(c)
		}
	}
	return router.Forward(s.hop(t.routes.Default, in))
}

// way returns the connection towards a node, or zero: by the fixed next hop if
// that can be had, else straight to it.
func (t *Table) way(s *snapshot, dest identity.NodeID, in identity.ConnID) identity.ConnID {
	if next, ok := t.routes.Nodes[dest]; ok {
		if c := s.hop(next, in); c != 0 {
			return c
		}
	}
	return s.hop(dest, in)
}

// hop returns the best connection to a neighbour other than in, or zero.
func (s *snapshot) hop(node identity.NodeID, in identity.ConnID) identity.ConnID {
	for _, c := range s.hops[node] {
		if c != in {
			return c
		}
	}
	return 0
}
