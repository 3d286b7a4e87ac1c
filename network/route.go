package network

import (
	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// closedReady is returned where there is nothing to wait for.
var closedReady = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// target returns the service that a route addresses.
func target(s *service, r router.Route) identity.ServiceID {
	if r.Service != 0 {
		return r.Service
	}
	return s.id
}

// send queues a message of a service.
func (n *Node) send(s *service, o *agent.Outgoing) error {
	if len(o.Payload) > n.cfg.Limits.Message {
		return agent.ErrTooLarge
	}
	to := o.To
	switch to.Rule {
	case router.RuleConn:
		if sl := s.recent.Load(); sl != nil && sl.link.id == to.Conn && to.Service == 0 && !o.ToBehavior && !o.Unreliable && !sl.replaced.Load() {
			return sl.link.sendDirect(sl, o.Kind, o.Payload)
		}
		l := n.link(to.Conn)
		if l == nil {
			return agent.ErrNoConn
		}
		return l.send(s, target(s, to), o)
	case router.RuleService:
		if n.services()[to.Service] != nil && !n.services()[to.Service].info.Private {
			return n.sendLocal(s, to.Service, o)
		}
		if r, ok := n.cfg.Router.(router.Resolver); ok {
			node, found := r.ResolveService(to.Service)
			if !found {
				return agent.ErrNoService
			}
			to = router.ToNode(node).At(to.Service)
		}
	}
	action := router.PathTo(n.cfg.Router, to, 0)
	switch {
	case action.IsDeliver():
		return n.sendLocal(s, target(s, to), o)
	case action.IsReject():
		if to.Rule == router.RuleService {
			return agent.ErrNoService
		}
		return agent.ErrNoRoute
	}
	l := n.link(action.Conn())
	if l == nil {
		return agent.ErrNoRoute // the table has yet to hear of the end of this connection
	}
	if to.Rule == router.RuleNode && to.Node() == l.node {
		return l.sendPeer(s, target(s, to), o)
	}
	return l.sendRouted(s, to, o)
}

// sendLocal gives a message to a behaviour of this node, by the same rule as
// one from elsewhere.
func (n *Node) sendLocal(s *service, id identity.ServiceID, o *agent.Outgoing) error {
	d := n.services()[id]
	if d == nil {
		return agent.ErrNoService
	}
	m := conn.Message{Kind: o.Kind, FromService: s.id, Payload: o.Payload}
	n.count.local.Add(1)
	return d.accept(&m, nil, false)
}

// ready returns a channel that is closed when a refused send is worth another
// try.
func (n *Node) ready(s *service, to router.Route) <-chan struct{} {
	id := target(s, to)
	var l *link
	if to.Rule == router.RuleConn {
		l = n.link(to.Conn)
	} else {
		if r, ok := n.cfg.Router.(router.Resolver); ok && to.Rule == router.RuleService && n.services()[id] == nil {
			if node, found := r.ResolveService(id); found {
				to = router.ToNode(node).At(id)
			}
		}
		action := router.PathTo(n.cfg.Router, to, 0)
		if action.IsDeliver() || to.Rule == router.RuleService && n.services()[id] != nil {
			if d := n.services()[id]; d != nil {
				return d.box.room()
			}
			return closedReady
		}
		l = n.link(action.Conn())
	}
	if l == nil {
		return closedReady
	}
	if to.Rule == router.RuleConn || to.Rule == router.RuleNode && to.Node() == l.node {
		if sl := l.find(id); sl != nil {
			return l.out.ready(sl)
		}
		return closedReady
	}
	return l.out.ready(l.routed)
}

// send queues a message to the other end of the link.
func (l *link) send(s *service, id identity.ServiceID, o *agent.Outgoing) error {
	if o.ToBehavior || id != s.id {
		return l.sendPeer(s, id, o)
	}
	sl := l.find(id)
	if sl == nil {
		return agent.ErrNoService
	}
	if o.Unreliable {
		if sent, err := l.sendDatagram(sl, o); sent || err != nil {
			return err
		}
	}
	s.recent.Store(sl)
	return l.sendDirect(sl, o.Kind, o.Payload)
}

// sendDirect queues a message to the handler at the other end.
func (l *link) sendDirect(sl *slot, kind conn.Kind, payload []byte) error {
	if len(payload) > l.peerMessage || len(payload) > l.n.cfg.Limits.Message {
		return agent.ErrTooLarge
	}
	if l.readOnly.Load() {
		return conn.ErrReadOnly
	}
	return l.out.direct(sl, kind, payload)
}

// sendPeer queues a message to a behaviour at the other end.
func (l *link) sendPeer(s *service, id identity.ServiceID, o *agent.Outgoing) error {
	sl := l.find(id)
	switch {
	case sl == nil:
		return agent.ErrNoService
	case len(o.Payload) > l.peerMessage:
		return agent.ErrTooLarge
	case l.readOnly.Load():
		return conn.ErrReadOnly
	}
	h := wire.Peer{Service: id, Kind: o.Kind, From: s.id, ID: o.ID}
	if o.Report {
		h.Flags = wire.FlagReport
	}
	return l.out.peer(sl, &h, o.Payload)
}

// sendRouted queues a message that goes on from the other end.
func (l *link) sendRouted(s *service, to router.Route, o *agent.Outgoing) error {
	switch {
	case len(o.Payload) > l.peerMessage:
		return agent.ErrTooLarge
	case l.readOnly.Load():
		return conn.ErrReadOnly
	}
	h := wire.Routed{Rule: to.Rule, TTL: uint8(l.n.cfg.Limits.Hops), Hops: 1, Service: target(s, to), From: s.id,
		Kind: o.Kind, ID: o.ID, Origin: l.n.self, Target: to.Target}
	if o.Report {
		h.Flags = wire.FlagReport
	}
	return l.out.routed(l.routed, &h, o.Payload)
}

// routedIn deals with a routed message: it is for this node, or goes on, or is
// reported to its sender. Under the turn.
func (l *link) routedIn(body []byte) error {
	h, payload, err := wire.ParseRouted(body)
	if err != nil {
		return err
	}
	if len(payload) > l.n.cfg.Limits.Message {
		return l.tooLarge(payload)
	}
	l.routed.inline += len(body) + overhead
	l.routed.touch()
	l.received.Add(1)
	n := l.n
	if h.Origin == n.self {
		n.count.loops.Add(1)
		return nil
	}
	if (h.Hops <= 1) != (h.Origin == l.node) {
		n.count.forged.Add(1) // only a neighbour's own messages have crossed one connection
		return nil
	}
	action := router.PathTo(n.cfg.Router, h.Route(), l.id)
	if action.IsDeliver() {
		l.arrived(&h, payload)
		return nil
	}
	if action.IsReject() {
		code := wire.ReportNoRoute
		if h.Rule == router.RuleService {
			code = wire.ReportNoService
		}
		l.undelivered(&h, code)
		return nil
	}
	next := n.link(action.Conn())
	if h.TTL <= 1 || next == nil || next == l || next.readOnly.Load() {
		n.count.expired.Add(1)
		l.undelivered(&h, wire.ReportNoRoute)
		return nil
	}
	if len(payload) > next.peerMessage {
		l.undelivered(&h, wire.ReportTooLarge)
		return nil
	}
	hops := h.Hops
	if hops < 255 {
		hops++
	}
	if err := next.out.forward(next.routed, body, h.TTL-1, hops, n.cfg.Limits.RoutedWindow); err != nil {
		n.count.forwardDropped.Add(1)
		l.undelivered(&h, wire.ReportQueueFull)
		return nil
	}
	n.count.forwarded.Add(1)
	return nil
}

// arrived delivers a routed message to a behaviour of this node. Under the turn.
func (l *link) arrived(h *wire.Routed, payload []byte) {
	s := l.n.services()[h.Service]
	if s == nil {
		l.n.count.unknownService.Add(1)
		l.undelivered(h, wire.ReportNoService)
		return
	}
	l.n.count.hops.Add(uint64(h.Hops))
	l.n.count.arrived.Add(1)
	l.msg = conn.Message{Service: h.Service, Kind: h.Kind, FromService: h.From, From: h.Origin, Conn: l.id, Hops: h.Hops, Payload: payload}
	if s.takes(&l.msg) {
		return
	}
	if h.Kind >= conn.KindReserved {
		l.undelivered(h, wire.ReportNoService) // the behaviour has no part for it
		return
	}
	if sl := l.find(h.Service); sl != nil && sl.stage != nil {
		sl.publish() // what came before on this connection stays before
	}
	if err := s.accept(&l.msg, l, true); err != nil {
		code := wire.ReportQueueFull
		if err == agent.ErrNoService {
			code = wire.ReportNoService
		}
		l.undelivered(h, code)
	}
}

// undelivered reports a routed message to its sender, if that wants to know.
// Under the turn.
func (l *link) undelivered(h *wire.Routed, code wire.ReportCode) {
	l.n.count.undelivered.Add(1)
	if h.Flags&wire.FlagReport == 0 {
		return
	}
	l.n.sendReport(&wire.Report{TTL: uint8(l.n.cfg.Limits.Hops), Code: code, To: h.From, Kind: h.Kind, Service: h.Service,
		ID: h.ID, Reporter: l.n.self, Target: h.Origin}, l)
}

// report answers the other end of the link about a message that it sent.
func (l *link) report(r wire.Report) {
	r.Reporter = l.n.self
	l.out.order(func(b []byte) []byte { return wire.AppendReport(b, &r) })
}

// sendReport sends a report on its way: back over the link that brought the
// message where that leads to its origin, else by the table.
func (n *Node) sendReport(r *wire.Report, via *link) {
	next := via
	if via.node != r.Target {
		// A report may go back where the message came from: that is the way home.
		action := n.cfg.Router.PathToNode(r.Target, 0)
		if next = n.link(action.Conn()); next == nil || next.out.pending() > maxReports {
			n.count.reportsLost.Add(1)
			return
		}
	}
	next.out.order(func(b []byte) []byte { return wire.AppendReport(b, r) })
}

// reportIn deals with a report: it is for a behaviour here, or goes on. Under
// the turn.
func (l *link) reportIn(body []byte) error {
	r, err := wire.ParseReport(body)
	if err != nil {
		return err
	}
	n := l.n
	if r.Target != n.self {
		action := n.cfg.Router.PathToNode(r.Target, l.id)
		next := n.link(action.Conn())
		if r.TTL <= 1 || next == nil || next.out.pending() > maxReports {
			n.count.reportsLost.Add(1)
			return nil
		}
		r.TTL--
		next.out.order(func(b []byte) []byte { return wire.AppendReport(b, &r) })
		return nil
	}
	s := n.services()[r.To]
	if s == nil || s.hooks.report == nil && len(s.watch) == 0 {
		return nil
	}
	failure := agent.ErrNoRoute
	switch r.Code {
	case wire.ReportNoService:
		failure = agent.ErrNoService
	case wire.ReportQueueFull:
		failure = agent.ErrQueueFull
	case wire.ReportTooLarge:
		failure = agent.ErrTooLarge
	}
	report := agent.Report{ID: r.ID, Kind: r.Kind, To: r.Service, From: r.Reporter, Failure: failure}
	if r.Kind >= conn.KindReserved {
		for _, w := range s.watch {
			s.guard(func() { w.PartReport(s.agent, report) })
		}
		return nil
	}
	_ = s.putEvent(item{op: opReport, ev: report}) // a full queue counts it
	return nil
}

// maxReports is how many bytes may wait on a link for reports of others to be
// sent over it.
const maxReports = 256 << 10
