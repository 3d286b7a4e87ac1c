package kademlia

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/plexus-net/plexus/identity"
)

// clone returns a copy that the writer may change with the methods below. They
// replace what readers may hold and never write into it.
func (s *snapshot) clone() *snapshot {
	c := *s
	c.owned = false
	return &c
}

// addPeer puts a node into its bucket.
func (s *snapshot) addPeer(p *peer) {
	peers := make(map[identity.NodeID]*peer, len(s.peers)+1)
	maps.Copy(peers, s.peers)
	peers[p.id] = p
	s.peers = peers

	i, bit := s.bucketOf(p)
	s.buckets = slices.Clone(s.buckets)
	if !s.mask.has(bit) {
		s.buckets = slices.Insert(s.buckets, i, bucket{})
		s.mask.set(bit)
	}
	b := &s.buckets[i]
	at, _ := slices.BinarySearch(b.heads, p.at[0])
	b.heads, b.peers = inserted(b.heads, at, p.at[0]), inserted(b.peers, at, p)
}

// drop takes a link from a node, and the node out of its bucket when that was
// its last.
func (s *snapshot) drop(p *peer, id identity.ConnID) {
	before := p.services()
	p.unset(id)
	s.serve(p, before, p.services())
	if len(*p.links.Load()) > 0 {
		return
	}
	s.peers = maps.Clone(s.peers)
	delete(s.peers, p.id)

	i, bit := s.bucketOf(p)
	s.buckets = slices.Clone(s.buckets)
	b := &s.buckets[i]
	at := slices.Index(b.peers, p)
	b.heads, b.peers = deleted(b.heads, at), deleted(b.peers, at)
	if len(b.peers) == 0 {
		s.buckets = slices.Delete(s.buckets, i, i+1)
		s.mask.clear(bit)
	}
}

// serve records that a neighbour's services changed; it reports whether they
// did.
func (s *snapshot) serve(p *peer, before, after []identity.ServiceID) bool {
	diff(before, after, func(id identity.ServiceID, added bool) {
		s.edit(id, func(e *service) {
			if added {
				e.near = inserted(e.near, len(e.near), p)
			} else {
				e.near = deleted(e.near, slices.Index(e.near, p))
			}
		})
	})
	return !slices.Equal(before, after)
}

// know records that the services of a node of the directory changed.
func (s *snapshot) know(n *known, services []identity.ServiceID) {
	diff(n.services, services, func(id identity.ServiceID, added bool) {
		s.edit(id, func(e *service) {
			if added {
				e.far = e.far.with(n)
			} else {
				e.far = e.far.without(n)
			}
		})
	})
	n.services = services
}

// diff calls f for what is in only one of two sorted lists.
func diff(before, after []identity.ServiceID, f func(id identity.ServiceID, added bool)) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0] < after[0]:
			f(before[0], false)
			before = before[1:]
		case len(before) == 0 || after[0] < before[0]:
			f(after[0], true)
			after = after[1:]
		default:
			before, after = before[1:], after[1:]
		}
	}
}

// edit replaces the entry of a service by one that f has changed, and removes
// it when nobody serves it any more.
func (s *snapshot) edit(id identity.ServiceID, f func(*service)) {
	if !s.owned {
		services := make(map[identity.ServiceID]*service, len(s.services)+1)
		maps.Copy(services, s.services)
		s.services, s.owned = services, true
	}
	e := &service{}
	if old := s.services[id]; old != nil {
		*e = *old
	} else {
		e.turn = new(atomic.Uint32)
	}
	f(e)
	if e.local || len(e.near) > 0 || e.far.n > 0 {
		s.services[id] = e
	} else {
		delete(s.services, id)
	}
}

// inserted returns a copy of s with v at i.
func inserted[T any](s []T, i int, v T) []T {
	c := make([]T, len(s)+1)
	copy(c, s[:i])
	c[i] = v
	copy(c[i+1:], s[i:])
	return c
}

// deleted returns a copy of s without the element at i.
func deleted[T any](s []T, i int) []T {
	c := make([]T, len(s)-1)
	copy(c, s[:i])
	copy(c[i:], s[i+1:])
	return c
}
