package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/frames"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// open makes a link of a connection whose node ID is proven, or refuses it. Both
// sides say hello at once; after the other's hello each asks its behaviours and
// says that it is ready; a link is open when both are.
//
//	hello ────────────> <──────────── hello
//	      admit, choose      admit, choose
//	ready ────────────> <──────────── ready
//	                open
//
// Of several connections to one node, only the side with the lower node ID
// chooses: it is ready on one at a time. So both sides open the same one.
func (n *Node) open(ctx context.Context, c conn.Conn, dir conn.Direction, host string) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := n.env.AfterFunc(n.cfg.Limits.HandshakeTime, func() {
		c.Close(&conn.CloseError{Code: conn.CodeTimeout, Reason: "handshake took longer than Limits.HandshakeTime"})
		cancel()
	})
	defer limit.Stop()
	unhook := n.env.OnDone(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer unhook()
	if c.Node() == n.self {
		err := &conn.CloseError{Code: conn.CodeSelf, Reason: "this node has dialled itself"}
		return nil, n.reject(c, err)
	}
	table := n.table.Load()
	hello := wire.AppendHello(nil, &wire.Hello{MinVersion: wire.Version, MaxVersion: wire.Version, Network: n.cfg.Network, Instance: n.instance,
		MaxMessage: uint32(n.cfg.Limits.Message), RoutedWindow: uint32(n.cfg.Limits.RoutedWindow), Services: n.announced()})
	if _, err := c.Write(hello); err != nil {
		c.Close(err)
		return nil, err
	}
	in := &frameReader{c: c}
	peer, err := n.readHello(in)
	if err != nil {
		return nil, n.reject(c, err)
	}
	readOnly, err := n.admit(ctx, c, dir, peer)
	if err != nil {
		return nil, n.reject(c, err)
	}
	chose, err := n.choose(ctx, c, peer)
	if err != nil {
		return nil, n.reject(c, err)
	}
	if chose {
		defer n.chosen(c.Node())
	}
	if _, err := c.Write(wire.AppendPrefix(nil, wire.TypeReady, 0)); err != nil {
		c.Close(err)
		return nil, err
	}
	if err := in.ready(); err != nil {
		return nil, n.reject(c, err)
	}
	if !unhook() {
		return nil, n.reject(c, &conn.CloseError{Code: conn.CodeTimeout, Err: context.Cause(ctx)})
	}
	limit.Stop()
	return n.establish(c, dir, host, peer, readOnly, in, table)
}

// reject tells the other end why and closes the connection when it has read
// that, or a little later. It returns the reason.
func (n *Node) reject(c conn.Conn, err error) error {
	var ce *conn.CloseError
	if !errors.As(err, &ce) {
		code := conn.CodeUnreachable
		if errors.Is(err, wire.ErrMalformed) {
			code = conn.CodeProtocol
		}
		ce = &conn.CloseError{Code: code, Reason: err.Error(), Err: err}
	}
	if ce.Remote || ce.Code == conn.CodeUnreachable {
		c.Close(ce)
		return ce
	}
	n.count.rejected.Add(1)
	n.running.add(1)
	n.env.Go(func() {
		defer n.running.done()
		defer c.Close(ce)
		t := n.env.AfterFunc(closeGrace, func() { c.Close(ce) })
		defer t.Stop()
		c.SetReadDeadline(time.Time{})
		if _, err := c.Write(wire.AppendGoodbye(nil, ce.Code, ce.Reason)); err == nil {
			_, _ = io.Copy(io.Discard, c) // until the other end closes
		}
	})
	return ce
}

// readHello reads and checks the first frame of the other end.
func (n *Node) readHello(in *frameReader) (*wire.Hello, error) {
	body, err := in.next(wire.TypeHello)
	if err != nil {
		return nil, err
	}
	h, err := wire.ParseHello(body)
	switch {
	case err != nil:
		return nil, err
	case h.MinVersion > wire.Version || h.MaxVersion < wire.Version:
		return nil, &conn.CloseError{Code: conn.CodeVersion, Reason: fmt.Sprintf("one side speaks versions %d to %d, the other %d", h.MinVersion, h.MaxVersion, wire.Version)}
	case h.Network != n.cfg.Network:
		return nil, &conn.CloseError{Code: conn.CodeNetwork, Reason: fmt.Sprintf("one side belongs to network %q, the other to %q", h.Network, n.cfg.Network)}
	}
	return h, nil
}

// admit asks the limits, then the behaviours in the order of their
// registration. The first refusal wins.
func (n *Node) admit(ctx context.Context, c conn.Conn, dir conn.Direction, h *wire.Hello) (readOnly bool, err error) {
	if err := n.room(c.Node()); err != nil {
		return false, err
	}
	p := conn.Peer{Node: c.Node(), Direction: dir, Remote: c.RemoteAddr()}
	for _, s := range h.Services {
		if !s.Private {
			p.Services = append(p.Services, s.Service)
		}
	}
	for _, s := range n.table.Load().order {
		if s.hooks.admit == nil || s.gone.Load() {
			continue
		}
		var answer error
		verdict := s.do(ctx, &nameAdmit, func() { answer = s.hooks.admit.Admit(s.agent, p) })
		if verdict == nil {
			verdict = answer
		} else {
			verdict = fmt.Errorf("service %d (%s) did not answer: %w", s.id, s.info.Name, verdict)
		}
		if errors.Is(verdict, conn.ErrReadOnly) {
			readOnly = true
			continue
		}
		if verdict != nil {
			return false, &conn.CloseError{Code: conn.CodeRejected, Reason: verdict.Error(), Err: verdict}
		}
	}
	return readOnly, nil
}

// room checks the limit of connections. One to a node that has one already
// would take its place.
func (n *Node) room(node identity.NodeID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopping:
		return &conn.CloseError{Code: conn.CodeShutdown}
	case len(n.byNode) >= n.cfg.Limits.Conns && n.byNode[node] == nil:
		n.count.limited.Add(1)
		return &conn.CloseError{Code: conn.CodeLimit, Reason: fmt.Sprintf("the node has %d connections (Limits.Conns)", n.cfg.Limits.Conns)}
	}
	return nil
}

// choose decides, on the side with the lower ID, whether this connection is the
// one to open. Where another to the same node is open already, that one stays
// if it is alive and the other end has not started anew.
func (n *Node) choose(ctx context.Context, c conn.Conn, h *wire.Hello) (chose bool, err error) {
	node := c.Node()
	if n.self.Compare(node) > 0 {
		return false, nil
	}
	replaced := &conn.CloseError{Code: conn.CodeReplaced, Reason: "another connection between the two nodes is open or about to"}
	n.mu.Lock()
	for other := n.pending[node]; other != nil; other = n.pending[node] {
		n.mu.Unlock()
		if n.env.Wait(other, ctx.Done(), nil) == 1 { // it may yet fail, or open and end
			return false, &conn.CloseError{Code: conn.CodeTimeout, Err: context.Cause(ctx)}
		}
		n.mu.Lock()
	}
	n.pending[node] = make(chan struct{})
	old := n.byNode[node]
	n.mu.Unlock()
	if old == nil {
		return true, nil
	}
	if old.peerInstance == h.Instance && n.alive(ctx, old) {
		n.chosen(node)
		n.count.replaced.Add(1)
		return false, replaced
	}
	old.abort(&conn.CloseError{Code: conn.CodeReplaced, Reason: "the other end has started anew"})
	if n.env.Wait(old.ended, ctx.Done(), nil) == 1 {
		n.chosen(node)
		return false, &conn.CloseError{Code: conn.CodeTimeout, Err: context.Cause(ctx)}
	}
	return true, nil
}

// chosen ends what choose began.
func (n *Node) chosen(node identity.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.pending[node])
	delete(n.pending, node)
}

// establish opens a link: table first, then slots and behaviours, then its
// goroutines.
func (n *Node) establish(c conn.Conn, dir conn.Direction, host string, h *wire.Hello, readOnly bool, in *frameReader, told *serviceTable) (*link, error) {
	node := c.Node()
	for {
		l, old, err := n.addLink(c, dir, h, readOnly)
		if err != nil {
			return nil, n.reject(c, err)
		}
		if old != nil {
			// The other end has chosen this connection: the old one is dead to it.
			old.abort(&conn.CloseError{Code: conn.CodeReplaced, Reason: "the other end has opened another connection"})
			n.env.Wait(old.ended, nil, nil)
			continue
		}
		l.host = host
		l.in = frames.Hold(in.buf[in.r:in.w])
		n.learn(l, h.Services)
		l.turn.Lock()
		l.setPeerServices(h.Services)
		l.turn.Unlock()
		n.count.opened.Add(1)
		l.log.Debug("connection open", "remote", c.RemoteAddr(), "direction", dir, "peer", node.Short())
		if n.table.Load() != told {
			// Services have changed since the hello, when nobody knew of this link.
			announced := n.announced()
			l.out.order(func(b []byte) []byte { return wire.AppendServices(b, announced) })
		}
		l.start()
		return l, nil
	}
}

// addLink gives a connection its ID and its place, unless another link to the
// same node has it.
func (n *Node) addLink(c conn.Conn, dir conn.Direction, h *wire.Hello, readOnly bool) (l, old *link, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		return nil, nil, &conn.CloseError{Code: conn.CodeShutdown}
	}
	if old := n.byNode[c.Node()]; old != nil {
		return nil, old, nil
	}
	if len(n.byNode) >= n.cfg.Limits.Conns {
		n.count.limited.Add(1)
		return nil, nil, &conn.CloseError{Code: conn.CodeLimit, Reason: fmt.Sprintf("the node has %d connections (Limits.Conns)", n.cfg.Limits.Conns)}
	}
	n.lastConn++
	now := n.env.Now()
	l = &link{n: n, id: n.lastConn, node: c.Node(), c: c, peerInstance: h.Instance, peerMessage: int(min(h.MaxMessage, maxMessage)), ended: make(chan struct{})}
	l.info = conn.Info{ID: l.id, Node: l.node, Direction: dir, Local: c.LocalAddr(), Remote: c.RemoteAddr(), Opened: now}
	l.log = n.cfg.Log.With("conn", l.id)
	l.ctx, l.stop = context.WithCancelCause(n.ctx)
	l.readOnly.Store(readOnly)
	l.lastSeen.Store(now.UnixNano())
	l.drains = l.drain
	l.out.init()
	l.slots.Store(&[]*slot{})
	l.routed = &slot{link: l, credit: int(h.RoutedWindow), window: int(h.RoutedWindow)}
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

// A frameReader reads the frames of the handshake, and keeps what follows them.
type frameReader struct {
	c    conn.Conn
	buf  []byte
	r, w int
}

// next reads a frame of type t. A goodbye in its place is the error that it
// carries.
func (f *frameReader) next(t wire.Type) ([]byte, error) {
	for f.w-f.r < wire.PrefixSize {
		if err := f.fill(wire.PrefixSize); err != nil {
			return nil, err
		}
	}
	got, size := wire.Prefix(f.buf[f.r:])
	if got != t && got != wire.TypeGoodbye || size > wire.MaxHello+1024 {
		return nil, fmt.Errorf("%w: the handshake brought a frame of type %d with %d bytes in place of type %d", wire.ErrMalformed, got, size, t)
	}
	for f.w-f.r < wire.PrefixSize+size {
		if err := f.fill(wire.PrefixSize + size); err != nil {
			return nil, err
		}
	}
	body := f.buf[f.r+wire.PrefixSize : f.r+wire.PrefixSize+size]
	f.r += wire.PrefixSize + size
	if got == wire.TypeGoodbye {
		ce, err := wire.ParseGoodbye(body)
		if err != nil {
			return nil, err
		}
		return nil, ce
	}
	return body, nil
}

func (f *frameReader) ready() error {
	_, err := f.next(wire.TypeReady)
	return err
}

// fill reads once; the frame at r has need bytes. The buffer grows with what
// arrives, not with what is claimed.
func (f *frameReader) fill(need int) error {
	if f.r+need > len(f.buf) && f.w == len(f.buf) {
		b := make([]byte, max(1024, 2*(f.w-f.r)))
		f.w = copy(b, f.buf[f.r:f.w])
		f.r, f.buf = 0, b
	}
	k, err := f.c.Read(f.buf[f.w:])
	f.w += k
	if k > 0 {
		return nil
	}
	if err != nil {
		return readError(err)
	}
	return nil
}
