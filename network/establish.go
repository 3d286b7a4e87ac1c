package network

import (
	"context"
	"fmt"
	"slices"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/internal/frames"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// establish opens a link: table first, then slots and behaviours, then its
// goroutines.
func (n *Node) establish(o *candidate) (*link, error) {
	for {
		l, old, err := n.addLink(o)
		if err != nil {
			return nil, n.reject(o.c, err)
		}
		if old != nil && old.session != nil && old.session == o.session {
			return n.moveTo(old, o) // another connection was faster
		}
		if old != nil {
			if old != o.had && old.peerInstance != o.peer.Instance {
				return nil, n.reject(o.c, errReplaced) // perhaps this one is of the earlier life: see supersede
			}
			// The other end has chosen this connection: the old one is dead to it.
			old.abort(&conn.CloseError{Code: conn.CodeReplaced, Reason: "the other end has opened another connection"})
			n.env.Wait(old.ended, nil, nil)
			continue
		}
		l.host = o.host
		if o.session == nil {
			l.in = frames.Hold(o.in.rest())
		}
		n.learn(l, o.peer.Services)
		l.turn.Lock()
		l.setPeerServices(o.peer.Services)
		l.turn.Unlock()
		n.count.opened.Add(1)
		l.log.Debug("connection open", "remote", o.c.RemoteAddr(), "direction", o.dir, "peer", o.c.Node().Short())
		if n.table.Load() != o.told {
			// Services have changed since the hello, when nobody knew of this link.
			announced := n.announced()
			l.out.order(func(b []byte) []byte { return wire.AppendServices(b, announced) })
		}
		l.start()
		if o.session != nil {
			return n.moveTo(l, o)
		}
		return l, nil
	}
}

// surplus is the reason to refuse a connection for a session that is on another,
// which works: both ends had dialled.
func (n *Node) surplus(ctx context.Context, o *candidate, s *session) error {
	if o.renews != nil || o.peer.Renew || n.self.Compare(o.c.Node()) > 0 {
		return nil
	}
	n.mu.Lock()
	l := s.link
	n.mu.Unlock()
	if l == nil || l.suspended() || !n.alive(ctx, l) {
		return nil
	}
	n.count.replaced.Add(1)
	return errReplaced
}

// resume has a connection carry the link that this node has with the other, or
// that it would have if it had learned in time that the other end has opened it.
func (n *Node) resume(ctx context.Context, o *candidate) (l *link, err error) {
	if n.self.Compare(o.c.Node()) > 0 {
		if o.number, err = o.in.attach(); err != nil {
			return nil, n.reject(o.c, err)
		}
	}
	n.mu.Lock()
	old := n.byNode[o.c.Node()]
	if old == nil || old.session != o.session {
		old = nil
	}
	n.mu.Unlock()
	if old == nil {
		if o.readOnly, err = n.admit(ctx, o.c, o.dir, o.peer); err != nil {
			return nil, n.reject(o.c, err)
		}
	}
	if !o.calm() {
		return nil, n.reject(o.c, &conn.CloseError{Code: conn.CodeTimeout, Err: context.Cause(ctx)})
	}
	if old == nil {
		return n.establish(o)
	}
	return n.moveTo(old, o)
}

// moveTo moves a link to a connection, unless it is on a newer one already.
func (n *Node) moveTo(l *link, o *candidate) (*link, error) {
	n.env.Wait(l.session.begun, nil, nil)
	switch err := l.session.attach(o); {
	case err == durable.ErrStale:
		o.c.Close(err)
	case err != nil:
		o.c.Close(err)
		return nil, err
	}
	if l.host != o.host {
		n.releaseHost(o.host) // the link counts already, for where it came from first
	}
	return l, nil
}

// forgotten is the reason to give up a connection that was dialled for a link of
// which the other end knows nothing.
func (n *Node) forgotten(o *candidate) error {
	err := &conn.CloseError{Code: conn.CodeReplaced, Reason: "the other end does not know the link that was to be renewed"}
	if o.renews.suspended() && o.renews.disowns(o.peer) { // else its end, or a goodbye, comes by the connection in use
		o.renews.abort(err)
	}
	return err
}

// addLink gives a connection its ID and its place, unless another link to the
// same node has it.
func (n *Node) addLink(o *candidate) (l, old *link, err error) {
	c, h := o.c, o.peer
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		return nil, nil, &conn.CloseError{Code: conn.CodeShutdown}
	}
	if old := n.byNode[c.Node()]; old != nil {
		return nil, old, nil
	}
	if o.session != nil && o.session.link != nil {
		return nil, nil, &conn.CloseError{Code: conn.CodeReplaced, Reason: "the connection that was to be renewed has ended"}
	}
	if len(n.byNode) >= n.cfg.Limits.Conns {
		n.count.limited.Add(1)
		return nil, nil, &conn.CloseError{Code: conn.CodeLimit, Reason: fmt.Sprintf("the node has %d connections (Limits.Conns)", n.cfg.Limits.Conns)}
	}
	n.lastConn++
	now := n.env.Now()
	l = &link{n: n, id: n.lastConn, node: c.Node(), c: c, peerInstance: h.Instance, peerMessage: int(min(h.MaxMessage, maxMessage)), ended: make(chan struct{})}
	l.info = conn.Info{ID: l.id, Node: l.node, Direction: o.dir, Local: c.LocalAddr(), Remote: c.RemoteAddr(), Opened: now}
	l.log = n.cfg.Log.With("conn", l.id)
	l.ctx, l.stop = context.WithCancelCause(n.ctx)
	l.readOnly.Store(o.readOnly)
	l.lastSeen.Store(now.UnixNano())
	l.drains = l.drain
	l.out.init()
	l.slots.Store(&[]*slot{})
	l.routed = &slot{link: l, credit: int(h.RoutedWindow), window: int(h.RoutedWindow)}
	if o.session != nil {
		l.session, l.c = o.session, o.session
		o.session.link, o.session.on = l, c
		l.renewal.addresses, l.peerReady = o.addresses, o.ready
	}
	delete(n.kept, l.node)
	n.byNode[l.node] = l
	n.links.Store(l.id, l)
	list := append(*n.list.Load(), l) // whoever reads the old list does not look beyond its end
	n.list.Store(&list)
	return l, nil, nil
}

// forget takes a link out of what senders see.
func (n *Node) forget(l *link) {
	n.links.Delete(l.id)
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*n.list.Load()), func(o *link) bool { return o == l })
	n.list.Store(&list)
	l.endRenewal()
}

// removed ends a link for the table and for those who wait to open another.
func (n *Node) removed(l *link) {
	n.unlearn(l)
	n.mu.Lock()
	if n.byNode[l.node] == l {
		delete(n.byNode, l.node)
	}
	for token, p := range n.pings {
		if p.link == l {
			delete(n.pings, token)
		}
	}
	n.mu.Unlock()
	n.count.closed.Add(1)
	l.log.Debug("connection closed", "peer", l.node.Short(), "cause", l.cause())
	n.redial(l)
}

// learn tells the table of a link, or of what has changed.
func (n *Node) learn(l *link, services []wire.Service) {
	if n.learner == nil {
		return
	}
	n.routing.Lock()
	defer n.routing.Unlock()
	if l.cause() != nil || l.readOnly.Load() {
		return
	}
	n.learner.AddLink(l.route(services))
}

// route describes the link to a table.
func (l *link) route(services []wire.Service) router.Link {
	r := router.Link{Conn: l.id, Node: l.node, RTT: l.rtt()}
	for _, s := range services {
		if !s.Private {
			r.Services = append(r.Services, s.ID)
		}
	}
	return r
}

// unlearn takes a link out of the table, as soon as it takes no more messages.
func (n *Node) unlearn(l *link) {
	if n.learner == nil {
		return
	}
	n.routing.Lock()
	defer n.routing.Unlock()
	if !l.unlearned {
		l.unlearned = true
		n.learner.RemoveLink(l.id)
	}
}

// peerTable returns what the other end serves.
func (l *link) peerTable() []wire.Service {
	var out []wire.Service
	for _, s := range *l.slots.Load() {
		if s.peer.ID != 0 {
			out = append(out, s.peer)
		}
	}
	return out
}
