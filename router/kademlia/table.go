package kademlia

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// The default bounds of a directory.
const (
	DefaultMaxNodes    = 4096
	DefaultMaxServices = 64
)

// A Config bounds a table's directory. The zero Config has the defaults.
type Config struct {
	// MaxNodes is how many nodes the directory holds. When it is full, nodes
	// that it does not hold yet are dropped and counted: a flood of new names
	// never displaces old ones. Default 4096.
	MaxNodes int
	// MaxServices is how many services the directory holds of each node, those
	// with the lowest IDs; the others are dropped and counted. Default 64.
	MaxServices int
}

// New makes a table with bounds of its own.
func (c Config) New(self identity.NodeID) *Table {
	if c.MaxNodes <= 0 {
		c.MaxNodes = DefaultMaxNodes
	}
	if c.MaxServices <= 0 {
		c.MaxServices = DefaultMaxServices
	}
	t := &Table{
		self:      self,
		cfg:       c,
		links:     map[identity.ConnID]*peer{},
		directory: map[identity.NodeID]*known{},
	}
	t.snap.Store(&snapshot{self: self, at: wordsOf(self.Key())})
	return t
}

// A Table is the routing table of one node. It is a [router.Table] that learns
// ([router.Learner]), can be told of distant nodes ([router.Directory]) and
// chooses among them ([router.Resolver]). Lookups read a snapshot and never
// wait; changes wait for each other.
type Table struct {
	self identity.NodeID
	cfg  Config
	snap atomic.Pointer[snapshot]

	mu        sync.Mutex // guards what follows, and the publishing of snap
	links     map[identity.ConnID]*peer
	directory map[identity.NodeID]*known
	stats     Stats
}

var (
	_ router.Table     = (*Table)(nil)
	_ router.Learner   = (*Table)(nil)
	_ router.Directory = (*Table)(nil)
	_ router.Resolver  = (*Table)(nil)
)

// New makes an empty table for a node, with the default bounds.
func New(self identity.NodeID) *Table { return Config{}.New(self) }

// Stats are the sizes of a table.
type Stats struct {
	Links     int // live connections
	Nodes     int // nodes at their other ends
	Buckets   int // buckets that hold at least one of these nodes
	Directory int // nodes in the directory

	DroppedNodes    uint64 // calls of SetNode refused by MaxNodes
	DroppedServices uint64 // services refused by MaxServices
}

// Stats returns the present sizes, for metrics and consoles.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, snap := t.stats, t.snap.Load()
	s.Links, s.Nodes, s.Buckets, s.Directory = len(t.links), len(snap.peers), len(snap.buckets), len(t.directory)
	return s
}

// AddLink implements [router.Learner]. A link without a connection ID, to the
// zero node or to this node itself is ignored.
func (t *Table) AddLink(l router.Link) {
	if l.Conn == 0 || l.Node.IsZero() || l.Node == t.self {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.snap.Load().clone()
	changed := false
	if old := t.links[l.Conn]; old != nil && old.id != l.Node {
		next.drop(old, l.Conn)
		changed = true
	}
	p := next.peers[l.Node]
	if p == nil {
		p = newPeer(l.Node)
		next.addPeer(p)
		changed = true
	}
	t.links[l.Conn] = p
	before := p.services()
	p.set(link{conn: l.Conn, rtt: l.RTT, services: sortedServices(l.Services)})
	if next.serve(p, before, p.services()) || changed {
		t.snap.Store(next)
	}
}

// RemoveLink implements [router.Learner].
func (t *Table) RemoveLink(id identity.ConnID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.links[id]
	if p == nil {
		return
	}
	delete(t.links, id)
	next := t.snap.Load().clone()
	next.drop(p, id)
	t.snap.Store(next)
}

// SetLocal implements [router.Learner].
func (t *Table) SetLocal(services []identity.ServiceID) {
	services = sortedServices(services)
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.snap.Load().clone()
	for id, e := range t.snap.Load().services {
		if e.local {
			next.edit(id, func(e *service) { e.local = false })
		}
	}
	for _, id := range services {
		next.edit(id, func(e *service) { e.local = true })
	}
	t.snap.Store(next)
}

// SetNode implements [router.Directory]. Entries for this node itself are
// ignored. A node without services takes no room: it is forgotten.
func (t *Table) SetNode(id identity.NodeID, services []identity.ServiceID) {
	if id.IsZero() || id == t.self {
		return
	}
	services = sortedServices(services)
	t.mu.Lock()
	defer t.mu.Unlock()
	if extra := len(services) - t.cfg.MaxServices; extra > 0 {
		services = slices.Clone(services[:t.cfg.MaxServices])
		t.stats.DroppedServices += uint64(extra)
	}
	n := t.directory[id]
	switch {
	case len(services) == 0:
		t.forget(n)
		return
	case n == nil && len(t.directory) >= t.cfg.MaxNodes:
		t.stats.DroppedNodes++
		return
	case n == nil:
		n = newKnown(id, t.snap.Load().at)
		t.directory[id] = n
	case slices.Equal(n.services, services):
		return
	}
	next := t.snap.Load().clone()
	next.know(n, services)
	t.snap.Store(next)
}

// RemoveNode implements [router.Directory].
func (t *Table) RemoveNode(id identity.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(t.directory[id])
}

// forget takes a node, if it is one, out of the directory. The caller holds mu.
func (t *Table) forget(n *known) {
	if n == nil {
		return
	}
	delete(t.directory, n.id)
	next := t.snap.Load().clone()
	next.know(n, nil)
	t.snap.Store(next)
}

// sortedServices copies services, in order, each once and none of them zero.
func sortedServices(services []identity.ServiceID) []identity.ServiceID {
	s := slices.Clone(services)
	slices.Sort(s)
	s = slices.Compact(s)
	if len(s) > 0 && s[0] == 0 {
		s = s[1:]
	}
	return s
}
