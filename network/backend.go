package network

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/router"
)

// agentEnv is what the agents of a service are made of.
func (n *Node) agentEnv(s *service, ctx context.Context, log *slog.Logger, b agent.Backend) agent.Env {
	return agent.Env{Self: n.self, Service: s.id, Clock: n.env, Source: n.env.Source(), Log: log, Context: ctx, Backend: b}
}

// A behaviorBackend acts for a behaviour.
type behaviorBackend struct{ s *service }

func (b *behaviorBackend) Send(o agent.Outgoing) error {
	if b.s.gone.Load() {
		return agent.ErrStopped
	}
	return b.s.n.send(b.s, &o)
}

func (b *behaviorBackend) Ready(to router.Route) <-chan struct{} { return b.s.n.ready(b.s, to) }

func (b *behaviorBackend) Conns() []conn.Info { return b.s.n.connsOf(b.s) }

func (b *behaviorBackend) Stats(id identity.ConnID) (conn.Stats, bool) { return b.s.n.stats(id) }

func (b *behaviorBackend) Do(op agent.Op) error {
	s := b.s
	if s.gone.Load() {
		return agent.ErrStopped
	}
	switch op.Code {
	case agent.OpTell:
		return s.putEvent(item{op: opEvent, ev: op.Event})
	case agent.OpPost:
		return s.postWait(op.Context, op.Event)
	case agent.OpDo:
		return s.do(op.Context, &nameDo, op.Func)
	case agent.OpAfter:
		return s.after(op.ID, op.Delay, op.Event)
	case agent.OpCancel:
		s.timers.cancel(op.ID)
		return nil
	case agent.OpNotify:
		return s.n.notify(s, nil, op.Conn, op.Event)
	}
	return s.n.do(op)
}

// after sets a timer of the behaviour.
func (s *service) after(id uint64, d time.Duration, ev any) error {
	return s.timers.set(id, func() env.Timer {
		return s.n.env.AfterFunc(d, func() {
			if s.timers.fired(id) {
				s.put(item{op: opEvent, ev: ev})
			}
		})
	})
}

// postWait queues an event, waiting for room until ctx ends.
func (s *service) postWait(ctx context.Context, ev any) error {
	for {
		room := s.box.room()
		err := s.putEvent(item{op: opEvent, ev: ev})
		if err != agent.ErrQueueFull {
			return err
		}
		if s.n.env.Wait(room, ctx.Done(), nil) == 1 {
			return context.Cause(ctx)
		}
	}
}

// A handlerBackend acts for a handler.
type handlerBackend struct{ s *slot }

func (b *handlerBackend) Send(o agent.Outgoing) error {
	l := b.s.link
	if o.To.Rule == router.RuleConn && o.To.Conn == l.id && (o.To.Service == 0 || o.To.Service == b.s.id) && !o.ToBehavior && !o.Unreliable {
		return l.sendDirect(b.s, o.Kind, o.Payload)
	}
	return l.n.send(b.s.svc, &o)
}

func (b *handlerBackend) Ready(to router.Route) <-chan struct{} { return b.s.link.n.ready(b.s.svc, to) }

func (b *handlerBackend) Conns() []conn.Info { return b.s.link.n.connsOf(b.s.svc) }

func (b *handlerBackend) Stats(id identity.ConnID) (conn.Stats, bool) {
	if l := b.s.link; id == l.id && l.cause() == nil {
		return l.stats(), true
	}
	return b.s.link.n.stats(id)
}

func (b *handlerBackend) Do(op agent.Op) error {
	s := b.s
	l := s.link
	switch op.Code {
	case agent.OpTell:
		if s.mute.Load() {
			return agent.ErrNoConn
		}
		return s.svc.putEvent(item{op: opEvent, link: l, ev: op.Event})
	case agent.OpAfter:
		return s.after(op.ID, op.Delay, op.Event)
	case agent.OpCancel:
		s.timers.cancel(op.ID)
		return nil
	case agent.OpNotify:
		return l.n.notify(s.svc, l, op.Conn, op.Event)
	}
	return l.n.do(op)
}

// after sets a timer of the handler.
func (s *slot) after(id uint64, d time.Duration, ev any) error {
	l := s.link
	return s.timers.set(id, func() env.Timer {
		return l.n.env.AfterFunc(d, func() {
			if s.timers.fired(id) {
				_ = l.post(linkEvent{slot: s, from: l, ev: ev, op: evTimer}) // a link that has ended needs no timer
			}
		})
	})
}

// notify gives an event to the handler of a service on a link, from that on
// another, or from the behaviour.
func (n *Node) notify(s *service, from *link, id identity.ConnID, ev any) error {
	l := n.link(id)
	if l == nil {
		return agent.ErrNoConn
	}
	sl := l.find(s.id)
	if sl == nil || sl.svc != s || s.hooks.connect == nil || sl.mute.Load() {
		return agent.ErrNoHandler
	}
	return l.post(linkEvent{slot: sl, from: from, ev: ev})
}

// do carries out the operations that are the node's.
func (n *Node) do(op agent.Op) error {
	switch op.Code {
	case agent.OpDial:
		return n.dialFor(op.Peer)
	case agent.OpClose:
		l := n.link(op.Conn)
		if l == nil {
			return agent.ErrNoConn
		}
		l.close(asked(op.Cause))
		return nil
	case agent.OpAuthorize:
		l := n.link(op.Conn)
		if l == nil {
			return agent.ErrNoConn
		}
		n.authorize(l)
		return nil
	}
	return fmt.Errorf("network: operation %d is not known", op.Code)
}

// asked is the cause of an end that a behaviour or user asked for.
func asked(cause error) error {
	if cause == nil {
		return conn.ErrClosed
	}
	return cause
}

// stats returns the statistics of a link.
func (n *Node) stats(id identity.ConnID) (conn.Stats, bool) {
	l := n.link(id)
	if l == nil {
		return conn.Stats{}, false
	}
	return l.stats(), true
}

// connsOf returns the links that a behaviour may see and write to.
func (n *Node) connsOf(s *service) []conn.Info {
	var out []conn.Info
	n.eachLink(func(l *link) {
		if l.readOnly.Load() {
			return
		}
		if info, ok := l.serves(s); ok {
			out = append(out, info)
		}
	})
	return out
}
