package secure

import (
	"container/heap"
	"container/list"
	"context"
	"net/netip"
)

// A place is what one handshake takes. Its host may change, as long as it is
// held.
type place struct {
	end  context.CancelCauseFunc
	age  uint64        // less is older
	host *host         // nil: it is not held any more
	at   *list.Element // of host.places
}

// A host is where the handshakes of some places come from.
type host struct {
	prefix netip.Prefix
	places list.List // the oldest first
	index  int       // in byMost
}

func (h *host) oldest() *place { return h.places.Front().Value.(*place) }

// places are those that are held. Each call costs some comparisons, in the
// logarithm of the number of hosts.
//
//	byMost ─> host ─> place, place, place   the first of these is the next to go
//	          host ─> place
type places struct {
	hosts  map[netip.Prefix]*host
	byMost byMost
	count  int
	ages   uint64
}

// add gives p to a host, as its youngest place.
func (ps *places) add(p *place, prefix netip.Prefix) {
	h := ps.hosts[prefix]
	if h == nil {
		if ps.hosts == nil {
			ps.hosts = map[netip.Prefix]*host{}
		}
		h = &host{prefix: prefix}
		ps.hosts[prefix] = h
	}
	ps.ages++
	p.host, p.age, p.at = h, ps.ages, h.places.PushBack(p)
	ps.count++
	if h.places.Len() == 1 {
		heap.Push(&ps.byMost, h)
	} else {
		heap.Fix(&ps.byMost, h.index)
	}
}

// remove takes p away, and reports whether it was held.
func (ps *places) remove(p *place) bool {
	h := p.host
	if h == nil {
		return false
	}
	h.places.Remove(p.at)
	p.host, p.at = nil, nil
	ps.count--
	if h.places.Len() == 0 {
		heap.Remove(&ps.byMost, h.index)
		delete(ps.hosts, h.prefix)
	} else {
		heap.Fix(&ps.byMost, h.index)
	}
	return true
}

// next returns the place that has to go first: the oldest of the host that holds
// most, and of several such hosts the oldest of all. There must be one.
func (ps *places) next() *place { return ps.byMost[0].oldest() }

// byMost is a heap of hosts, none of them without a place.
type byMost []*host

func (b byMost) Len() int { return len(b) }

func (b byMost) Less(i, j int) bool {
	if n, m := b[i].places.Len(), b[j].places.Len(); n != m {
		return n > m
	}
	return b[i].oldest().age < b[j].oldest().age
}

func (b byMost) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].index, b[j].index = i, j
}

// Push is for package heap.
func (b *byMost) Push(x any) {
	h := x.(*host)
	h.index = len(*b)
	*b = append(*b, h)
}

// Pop is for package heap.
func (b *byMost) Pop() any {
	last := len(*b) - 1
	h := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	return h
}
