package kademlia

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A snapshot is what lookups read. Once published it never changes, but for
// the links of its peers and the turns of its services, which are atomic.
type snapshot struct {
	self  identity.NodeID
	at    words // self's key
	peers map[identity.NodeID]*peer

	// buckets holds the buckets that are not empty, in the order of their
	// prefix lengths, which are the bits of mask.
	buckets []bucket
	mask    words

	services map[identity.ServiceID]*service
	owned    bool // services is a copy of the writer's own; see edit
}

// A bucket holds the neighbours that share a prefix of one length with self.
type bucket struct {
	heads []uint64 // the first words of their keys, in order
	peers []*peer  // in the order of heads
}

// A peer is a node at the other end of at least one link.
type peer struct {
	id    identity.NodeID
	at    words                  // its key
	links atomic.Pointer[[]link] // the best first; replaced, never changed
}

// A link is what the table keeps of a router.Link.
type link struct {
	conn     identity.ConnID
	rtt      time.Duration
	services []identity.ServiceID // sorted
}

// A known is a node of the directory.
type known struct {
	id       identity.NodeID
	at       words                // its key
	away     words                // its distance from self
	services []identity.ServiceID // the writer's, sorted
}

// A service is who serves it.
type service struct {
	local bool
	near  []*peer // neighbours, in no particular order
	far   ranking // of the directory
	turn  *atomic.Uint32
}

// PathToNode implements [router.Table].
func (t *Table) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	if dest == t.self {
		return router.Deliver()
	}
	s := t.snap.Load()
	if p := s.peers[dest]; p != nil {
		if c := p.other(in); c != 0 {
			return router.Forward(c)
		}
	}
	if dest.IsZero() || len(s.buckets) == 0 {
		return router.Reject()
	}
	to := wordsOf(dest.Key())
	return router.Forward(s.closer(&to, in))
}

// PathToKey implements [router.Table].
func (t *Table) PathToKey(key identity.Key, in identity.ConnID) router.Action {
	s, to := t.snap.Load(), wordsOf(key)
	if c := s.closer(&to, in); c != 0 {
		return router.Forward(c)
	}
	return router.Deliver()
}

// PathToService implements [router.Table].
func (t *Table) PathToService(id identity.ServiceID, in identity.ConnID) router.Action {
	s := t.snap.Load()
	e := s.services[id]
	if e == nil {
		return router.Reject()
	}
	if e.local {
		return router.Deliver()
	}
	for i, first := 0, e.next(len(e.near)); i < len(e.near); i++ {
		if c := e.near[(first+i)%len(e.near)].via(in); c != 0 {
			return router.Forward(c)
		}
	}
	for _, run := range e.far.runs {
		for _, n := range run {
			// A neighbour's own link says that it does not serve this any more.
			if c := s.closer(&n.at, in); c != 0 && s.peers[n.id] == nil {
				return router.Forward(c)
			}
		}
	}
	return router.Reject()
}

// ResolveService implements [router.Resolver]. It names this node if it serves
// the service; else the neighbour with the lowest round-trip time, by turns
// among equals; else a node of the directory to which there is a way, by turns.
func (t *Table) ResolveService(id identity.ServiceID) (identity.NodeID, bool) {
	s := t.snap.Load()
	e := s.services[id]
	if e == nil {
		return identity.NodeID{}, false
	}
	if e.local {
		return t.self, true
	}
	var best *peer
	var bestRTT time.Duration
	for i, first := 0, e.next(len(e.near)); i < len(e.near); i++ {
		p := e.near[(first+i)%len(e.near)]
		if rtt, live := p.rtt(); live && (best == nil || rtt < bestRTT) {
			best, bestRTT = p, rtt
		}
	}
	if best != nil {
		return best.id, true
	}
	for i, first := 0, e.next(e.far.n); i < e.far.n; i++ {
		n := e.far.at((first + i) % e.far.n)
		if s.closer(&n.at, 0) != 0 && s.peers[n.id] == nil {
			return n.id, true
		}
	}
	return identity.NodeID{}, false
}

// next returns which of n takes its turn.
func (e *service) next(n int) int {
	if n < 2 {
		return 0 // spares the cores their quarrel over the counter
	}
	return int((e.turn.Add(1) - 1) % uint32(n))
}

// closer returns a link to the neighbour closest to a key among those that are
// closer to it than self is and that did not send the message, or zero.
//
// A neighbour of bucket i differs from self in bit i of the key first, so it is
// closer to the key exactly if the key differs from self there too. And bucket
// i beats every bucket after it, whose neighbours still have self's bit i.
func (s *snapshot) closer(to *words, in identity.ConnID) identity.ConnID {
	at := 0 // of the first bucket of this word of the mask
	for w := range s.mask {
		for m := s.mask[w] & (s.at[w] ^ to[w]); m != 0; {
			bit := firstBit(m)
			if c := s.buckets[at+before(s.mask[w], bit)].closest(to, in); c != 0 {
				return c
			}
			m &^= 1 << (63 - bit)
		}
		at += ones(s.mask[w])
	}
	return 0
}

// closest returns a link to the bucket's neighbour closest to a key, other than
// the one that sent the message, or zero.
func (b *bucket) closest(to *words, in identity.ConnID) identity.ConnID {
	best := b.nearest(to)
	if c := best.via(in); c != 0 {
		return c
	}
	// Rare: it is where the message came from. Search again without it.
	var next *peer
	var conn identity.ConnID
	for _, p := range b.peers {
		if c := p.via(in); c != 0 && (next == nil || to.closer(&p.at, &next.at)) {
			next, conn = p, c
		}
	}
	return conn
}

// nearest returns the neighbour closest to a key. It is among those that share
// the longest prefix with it, which stand side by side where the key would, and
// all on one side of it: they differ from it in the same bit first.
func (b *bucket) nearest(to *words) *peer {
	at, _ := slices.BinarySearch(b.heads, to[0])
	left, right := -1, -1 // the length of the prefix that the key's neighbours share
	if at > 0 {
		left = firstBit(b.heads[at-1] ^ to[0])
	}
	if at < len(b.heads) {
		right = firstBit(b.heads[at] ^ to[0])
	}
	step, longest := 1, right
	if left > right {
		at, step, longest = at-1, -1, left
	}
	best := at
	for i := at + step; i >= 0 && i < len(b.heads) && firstBit(b.heads[i]^to[0]) == longest; i += step {
		if to.closer(&b.peers[i].at, &b.peers[best].at) {
			best = i
		}
	}
	return b.peers[best]
}
