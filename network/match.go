package network

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
)

// peerServices takes in what the other end serves now. Under the turn.
func (l *link) peerServices(services []wire.Service) {
	l.setPeerServices(services)
	l.n.learn(l, l.peerTable())
}

func (l *link) setPeerServices(services []wire.Service) {
	byID := make(map[identity.ServiceID]wire.Service, len(services))
	for _, s := range services {
		byID[s.ID] = s
	}
	l.reconcile(byID)
}

// match takes in what this node serves now. Under the turn.
func (l *link) match() {
	if l.done {
		return
	}
	byID := make(map[identity.ServiceID]wire.Service)
	for _, s := range *l.slots.Load() {
		if s.peer.ID != 0 {
			byID[s.id] = s.peer
		}
	}
	l.reconcile(byID)
}

// reconcile makes the slots fit what both ends serve: a slot for every service of
// either, attached where both have it. A slot whose service at one end is
// another than before is replaced by a new one. Under the turn.
func (l *link) reconcile(peer map[identity.ServiceID]wire.Service) {
	local := l.n.services()
	old := make(map[identity.ServiceID]*slot)
	for _, s := range *l.slots.Load() {
		old[s.id] = s
	}
	ids := make(map[identity.ServiceID]bool)
	for id := range peer {
		ids[id] = true
	}
	for id := range local {
		ids[id] = true
	}
	next := make([]*slot, 0, len(ids))
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		s := old[id]
		if s == nil || s.svc != local[id] || s.peer != peer[id] {
			if s != nil {
				s.replaced.Store(true)
				l.detach(s, agent.ErrNoService)
				l.out.granted(s, 0) // whoever waits for its window tries again, on the new slot
			}
			fresh := l.newSlot(id, local[id], peer[id])
			if s != nil && s.svc == fresh.svc {
				fresh.opens = s.opens
			}
			s = fresh
		}
		delete(old, id)
		next = append(next, s)
	}
	for _, s := range old {
		s.replaced.Store(true)
		l.detach(s, agent.ErrNoService)
		l.out.granted(s, 0)
	}
	l.last = nil
	l.out.mu.Lock()
	l.slots.Store(&next)
	l.out.mu.Unlock()
	for _, s := range next {
		if s.state == detached && s.matched() && !s.told {
			s.told = true
			l.attach(s)
		}
	}
}

func (l *link) newSlot(id identity.ServiceID, svc *service, peer wire.Service) *slot {
	s := &slot{link: l, id: id, svc: svc, peer: peer, window: int(peer.Window), credit: int(peer.Window), opens: new(atomic.Int32)}
	// Private services have no name: they are addressed by whoever knows them.
	s.foreign = svc != nil && peer.ID != 0 && !svc.info.Private && !peer.Private && svc.info.Name != peer.Name
	return s
}

// attach opens a slot: the behaviour is told, and its answer awaited without
// blocking anybody. Under the turn.
func (l *link) attach(s *slot) {
	s.state = opening
	if s.svc.hooks.connect == nil {
		s.state = toBehavior
	}
	s.opens.Add(1)
	s.svc.put(item{op: opConnect, link: l, ev: s})
}

// restless reports whether the other end changes its services faster than the
// behaviours here follow. Under the turn.
func (l *link) restless() bool {
	return slices.ContainsFunc(*l.slots.Load(), func(s *slot) bool { return s.opens.Load() > maxOpens })
}

// maxOpens is how many calls of OnConnect may wait for one behaviour and
// connection.
const maxOpens = 64

// peerVersion returns the version of the service at the other end.
func (s *slot) peerVersion() uint32 { return s.peer.Version }

// serves returns the link as a behaviour sees it, if the other end has its
// service.
func (l *link) serves(s *service) (conn.Info, bool) {
	sl := l.find(s.id)
	if sl == nil || sl.svc != s || !sl.matched() {
		return conn.Info{}, false
	}
	info := l.info
	info.Service = sl.peer.Service
	return info, true
}

// tick queues OnTick of the slot's handler.
func (s *slot) tick() {
	if s.ticked.CompareAndSwap(false, true) {
		_ = s.link.post(linkEvent{slot: s, op: evTick}) // a link that has ended does not tick
	}
}

// partsLost tells the parts of all behaviours that a link has ended: they may
// have used it without a slot of their own.
func (n *Node) partsLost(l *link, cause error) {
	for _, s := range n.table.Load().order {
		for _, w := range s.watch {
			s.guard(func() { w.PartDisconnect(s.agent, l.info, cause) })
		}
	}
}
