package main

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A Ring is a routing table of our own. Nodes stand on a circle, in the order of
// their keys, and a message to a node goes round it clockwise, from neighbour to
// neighbour, never past its destination: it comes nearer with every hop, so it
// never runs in circles for ever.
//
// It shows all that a table needs: the three questions of router.Table, answered
// from a snapshot without a lock, and router.Learner, to be told of connections.
type Ring struct {
	self identity.NodeID
	key  identity.Key

	mu   sync.Mutex // held by writers only
	view atomic.Pointer[view]
}

// A view is a snapshot. It never changes.
type view struct {
	links []router.Link
	keys  []identity.Key // of the links
	local []identity.ServiceID
}

// NewRing makes the table of a node.
func NewRing(self identity.NodeID) *Ring {
	r := &Ring{self: self, key: self.Key()}
	r.view.Store(&view{})
	return r
}

// PathToNode goes to the neighbour from which it is the least way round the
// circle to the node, if that is less than from here.
func (r *Ring) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	if dest == r.self {
		return router.Deliver()
	}
	v, to, best := r.view.Load(), dest.Key(), identity.ConnID(0)
	least := way(r.key, to)
	for i, l := range v.links {
		if w := way(v.keys[i], to); l.Conn != in && bytes.Compare(w[:], least[:]) < 0 {
			best, least = l.Conn, w
		}
	}
	return router.Forward(best) // Forward(0) is Reject
}

// way returns how far it is clockwise from one key to another: to - from, in 256
// bits.
func way(from, to identity.Key) (w identity.Key) {
	borrow := 0
	for i := len(w) - 1; i >= 0; i-- {
		d := int(to[i]) - int(from[i]) - borrow
		w[i] = byte(d)
		borrow = 0
		if d < 0 {
			borrow = 1
		}
	}
	return w
}

// PathToKey has nothing to do with the circle: the owner of a key is the node
// closest to it by XOR, for every table.
func (r *Ring) PathToKey(key identity.Key, in identity.ConnID) router.Action {
	v, best, closest := r.view.Load(), identity.ConnID(0), r.key
	for i, l := range v.links {
		if l.Conn != in && key.Closer(v.keys[i], closest) {
			best, closest = l.Conn, v.keys[i]
		}
	}
	if best == 0 {
		return router.Deliver()
	}
	return router.Forward(best)
}

// PathToService prefers this node to its neighbours, and knows no others.
func (r *Ring) PathToService(id identity.ServiceID, in identity.ConnID) router.Action {
	v := r.view.Load()
	if slices.Contains(v.local, id) {
		return router.Deliver()
	}
	for _, l := range v.links {
		if l.Conn != in && slices.Contains(l.Services, id) {
			return router.Forward(l.Conn)
		}
	}
	return router.Reject()
}

// AddLink is called when a connection opens, or something of it changes.
func (r *Ring) AddLink(l router.Link) {
	l.Services = slices.Clone(l.Services)
	r.update(func(v *view) {
		v.links = append(without(v.links, l.Conn), l)
	})
}

// RemoveLink is called when a connection has ended.
func (r *Ring) RemoveLink(id identity.ConnID) {
	r.update(func(v *view) { v.links = without(v.links, id) })
}

// SetLocal tells what this node serves.
func (r *Ring) SetLocal(services []identity.ServiceID) {
	r.update(func(v *view) { v.local = slices.Clone(services) })
}

// update publishes a changed copy of the view.
func (r *Ring) update(change func(*view)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := *r.view.Load()
	change(&v)
	v.keys = make([]identity.Key, len(v.links))
	for i, l := range v.links {
		v.keys[i] = l.Node.Key()
	}
	r.view.Store(&v)
}

func without(links []router.Link, id identity.ConnID) []router.Link {
	return slices.DeleteFunc(slices.Clone(links), func(l router.Link) bool { return l.Conn == id })
}
