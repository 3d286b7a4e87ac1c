package network

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// counters are what the node has counted. They only grow.
type counters struct {
	opened, closed, rejected, replaced, limited         atomic.Uint64
	dials, dialErrors, dialsShared                      atomic.Uint64
	local, arrived, hops, forwarded                     atomic.Uint64
	forwardDropped, undelivered, expired, loops, forged atomic.Uint64
	reportsLost, unknownService, unknownFrame, refused  atomic.Uint64
	protocolErrors, eventsRefused, messagesRefused      atomic.Uint64
	datagramsDropped, panics, restarts, slowCallbacks   atomic.Uint64
	renewed                                             atomic.Uint64
}

// A ping is a probe that waits for its answer.
type ping struct {
	link *link
	sent time.Time
	done chan struct{} // closed by the answer; nil: nobody waits
}

// careInterval is how often the caretaker looks.
const careInterval = 500 * time.Millisecond

// care starts the caretaker: it probes links that are silent, ends those that
// stay so or cannot be written to, and names callbacks that run long.
func (n *Node) care() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		return
	}
	n.caretaker = n.env.AfterFunc(careInterval, func() {
		now := n.env.Now()
		n.eachLink(func(l *link) {
			n.careFor(l, now)
			n.watchTurn(l, now)
		})
		for _, s := range n.table.Load().order {
			n.watch(s, now)
		}
		n.care()
	})
}

func (n *Node) careFor(l *link, now time.Time) {
	limits := &n.cfg.Limits
	if reads := l.reads.Load(); reads != l.seen {
		l.seen = reads
		l.lastSeen.Store(now.UnixNano())
	}
	if l.session != nil { // it looks after its connections itself
		if !l.suspended() && now.Sub(time.Unix(0, l.lastSeen.Load())) > limits.IdleTime/3 {
			n.ping(l, nil)
		}
		n.tellRTT(l)
		return
	}
	if w := l.out.writing.Load(); w != 0 && now.Sub(time.Unix(0, w)) > limits.WriteTime {
		l.abort(&conn.CloseError{Code: conn.CodeTimeout, Reason: fmt.Sprintf("a write took longer than %v (Limits.WriteTime)", limits.WriteTime)})
		return
	}
	silent := now.Sub(time.Unix(0, l.lastSeen.Load()))
	switch {
	case silent > limits.IdleTime:
		l.abort(&conn.CloseError{Code: conn.CodeTimeout, Reason: fmt.Sprintf("nothing came in for %v (Limits.IdleTime)", limits.IdleTime)})
	case silent > limits.IdleTime/3:
		n.ping(l, nil)
	}
	n.tellRTT(l)
}

// tellRTT tells the table of a round-trip time that has changed.
func (n *Node) tellRTT(l *link) {
	if l.cares++; l.told > 0 && l.cares%4 != 0 {
		return
	}
	if rtt := l.rtt(); (rtt - l.told).Abs() > l.told/4 {
		l.told = rtt
		n.learn(l, l.peerTable())
	}
}

// watch logs a callback that has run for long, once.
func (n *Node) watch(s *service, now time.Time) {
	name := s.running.Load()
	if calls := s.callbacks.Load(); name == nil || calls != s.watched {
		s.watched, s.since, s.warned = calls, now, false
		return
	}
	if d := now.Sub(s.since); d >= n.cfg.Limits.SlowCallback && !s.warned {
		s.warned = true
		n.count.slowCallbacks.Add(1)
		s.log.Warn("a callback of the behaviour runs long: callbacks must not block", "callback", *name, "for", d)
	}
}

// watchTurn logs a handler that holds up its connection, once.
func (n *Node) watchTurn(l *link, now time.Time) {
	s, hook := l.current.Load(), l.hook.Load()
	if batch := l.batches.Load(); s == nil || batch != l.watched {
		l.watched, l.since, l.warned = batch, now, false
		return
	}
	if hook == nil {
		hook = &nameMessage
	}
	if d := now.Sub(l.since); d >= n.cfg.Limits.SlowCallback && !l.warned {
		l.warned = true
		n.count.slowCallbacks.Add(1)
		l.log.Warn("a callback of a handler runs long: it holds up the whole connection", "callback", *hook, "service", s.id, "for", d)
	}
}

// ping probes a link, unless it is probed already.
func (n *Node) ping(l *link, done chan struct{}) {
	token := n.env.Source().Uint64()
	n.mu.Lock()
	for _, p := range n.pings {
		if p.link == l && done == nil {
			n.mu.Unlock()
			return
		}
	}
	n.pings[token] = ping{l, n.env.Now(), done}
	n.mu.Unlock()
	l.out.order(func(b []byte) []byte { return wire.AppendPing(b, wire.TypePing, token) })
}

// pong takes in the answer to a ping.
func (n *Node) pong(l *link, token uint64) {
	n.mu.Lock()
	p, ok := n.pings[token]
	if ok && p.link == l {
		delete(n.pings, token)
	}
	n.mu.Unlock()
	if !ok || p.link != l {
		return
	}
	l.probe.Store(int64(n.env.Now().Sub(p.sent)))
	if p.done != nil {
		close(p.done)
	}
}

// alive probes a link and waits for the answer, at most aliveTime.
func (n *Node) alive(ctx context.Context, l *link) bool {
	ctx, cancel := env.WithTimeout(n.env, ctx, aliveTime)
	defer cancel()
	done := make(chan struct{})
	n.ping(l, done)
	return n.env.Wait(done, l.ended, ctx.Done()) == 0
}

// aliveTime is how long an open link has to prove that it lives, when the other
// end opens another.
const aliveTime = 2 * time.Second

// authorize lets a link be written to.
func (n *Node) authorize(l *link) {
	if l.readOnly.CompareAndSwap(true, false) {
		n.learn(l, l.peerTable())
	}
}

// rtt returns the best knowledge of the link's round-trip time.
func (l *link) rtt() time.Duration {
	if rtt := l.c.Stats().RTT; rtt > 0 {
		return rtt
	}
	return time.Duration(l.probe.Load())
}

func (l *link) stats() conn.Stats {
	return conn.Stats{TransportStats: l.c.Stats(), MessagesSent: l.out.messages.Load(), MessagesReceived: l.received.Load(),
		Probe: time.Duration(l.probe.Load()), LastReceived: time.Unix(0, l.lastSeen.Load()), Queued: l.out.pending(), ReadOnly: l.readOnly.Load(), Renewals: l.renewals.Load()}
}

// A ConnState describes a connection in a [State].
type ConnState struct {
	conn.Info
	conn.Stats
	Services []conn.Service // what the other end serves
}

// A ServiceState describes a registered behaviour in a [State].
type ServiceState struct {
	conn.Service
	Private bool
	Conns   int // connections whose other end has the service
	Queued  int // events and local messages that wait for it
}

// A State is a snapshot of a node.
type State struct {
	Node      identity.NodeID
	Network   string
	Addresses []identity.Address
	Conns     []ConnState    // in the order of their IDs
	Services  []ServiceState // in the order of their registration
	Routes    []router.Link  // what the routing table has been told, in the order of connection IDs
	Wanted    []identity.PeerAddress
	Dialling  []identity.NodeID
	Counters  map[string]uint64 // by the names that the metrics have
}

// State returns a snapshot of the node: every connection in it was open at the
// same moment.
func (n *Node) State() State {
	n.mu.Lock()
	st := State{Node: n.self, Network: n.cfg.Network, Counters: n.count.snapshot()}
	for _, l := range n.listeners {
		st.Addresses = append(st.Addresses, l.Addr())
	}
	for _, w := range n.wanted {
		st.Wanted = append(st.Wanted, w.peer)
	}
	for id, d := range n.dials {
		if d.cancel != nil {
			st.Dialling = append(st.Dialling, id)
		}
	}
	var links []*link
	for _, l := range n.byNode {
		if l.cause() == nil {
			links = append(links, l)
		}
	}
	n.mu.Unlock()
	slices.SortFunc(links, func(a, b *link) int { return int(int64(a.id) - int64(b.id)) })
	slices.SortFunc(st.Wanted, func(a, b identity.PeerAddress) int { return a.ID.Compare(b.ID) })
	slices.SortFunc(st.Dialling, identity.NodeID.Compare)
	users := make(map[identity.ServiceID]int)
	for _, l := range links {
		c := ConnState{Info: l.info, Stats: l.stats()}
		c.Local, c.Remote = l.c.LocalAddr(), l.c.RemoteAddr() // of a durable one they change
		for _, s := range *l.slots.Load() {
			if s.peer.ID != 0 && !s.peer.Private {
				c.Services = append(c.Services, s.peer.Service)
			}
			if s.matched() {
				users[s.id]++
			}
		}
		st.Conns = append(st.Conns, c)
		if !c.ReadOnly {
			st.Routes = append(st.Routes, l.route(l.peerTable()))
		}
	}
	for _, s := range n.table.Load().order {
		st.Services = append(st.Services, ServiceState{Service: conn.Service{ID: s.id, Name: s.info.Name, Version: s.info.Version},
			Private: s.info.Private, Conns: users[s.id], Queued: s.box.queued()})
	}
	return st
}

func (c *counters) snapshot() map[string]uint64 {
	return map[string]uint64{
		"conns_opened": c.opened.Load(), "conns_closed": c.closed.Load(), "conns_rejected": c.rejected.Load(), "conns_replaced": c.replaced.Load(), "conns_renewed": c.renewed.Load(), "conns_limited": c.limited.Load(),
		"dials": c.dials.Load(), "dial_errors": c.dialErrors.Load(), "dials_shared": c.dialsShared.Load(),
		"local_messages": c.local.Load(), "routed_arrived": c.arrived.Load(), "routed_hops": c.hops.Load(), "routed_forwarded": c.forwarded.Load(),
		"routed_dropped": c.forwardDropped.Load(), "routed_undelivered": c.undelivered.Load(), "routed_expired": c.expired.Load(), "routed_loops": c.loops.Load(), "routed_forged": c.forged.Load(),
		"reports_lost": c.reportsLost.Load(), "unknown_service": c.unknownService.Load(), "unknown_frame": c.unknownFrame.Load(), "refused_by_peers": c.refused.Load(),
		"protocol_errors": c.protocolErrors.Load(), "events_refused": c.eventsRefused.Load(), "messages_refused": c.messagesRefused.Load(),
		"datagrams_dropped": c.datagramsDropped.Load(), "panics": c.panics.Load(), "restarts": c.restarts.Load(), "slow_callbacks": c.slowCallbacks.Load(),
	}
}
