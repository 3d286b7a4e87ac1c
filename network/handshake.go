package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/internal/wire"
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
func (n *Node) open(ctx context.Context, o *candidate) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := n.env.AfterFunc(n.cfg.Limits.HandshakeTime, func() {
		o.c.Close(&conn.CloseError{Code: conn.CodeTimeout, Reason: "handshake took longer than Limits.HandshakeTime"})
		cancel()
	})
	defer limit.Stop()
	o.calm = n.env.OnDone(ctx, func() { o.c.SetReadDeadline(time.Unix(1, 0)) })
	defer o.calm()
	defer n.meet(o)()
	if o.c.Node() == n.self {
		err := &conn.CloseError{Code: conn.CodeSelf, Reason: "this node has dialled itself"}
		return nil, n.reject(o.c, err)
	}
	if err := n.hello(o); err != nil {
		return nil, err
	}
	if s, theirs := match(o.known, o.peer.Resume); s != nil {
		if err := n.surplus(ctx, o, s); err != nil {
			return nil, n.reject(o.c, err)
		}
		o.session, o.theirs = s, theirs
		return n.resume(ctx, o)
	}
	if o.renews != nil {
		return nil, n.reject(o.c, n.forgotten(o))
	}
	if o.peer.Renew { // it is for a link that has ended here, or is about to: nothing else is to come of it
		return nil, n.reject(o.c, errUnknown)
	}
	err := n.agree(ctx, o)
	if o.chose {
		defer n.chosen(o.c.Node())
	}
	if err != nil {
		return nil, err
	}
	limit.Stop()
	return n.establish(o)
}

// A candidate is a connection that is about to become a link, or to carry one.
type candidate struct {
	c      conn.Conn
	dir    conn.Direction
	host   string // counts against Limits.ConnsPerHost; empty: none does
	renews *link  // it was dialled for this link alone

	addresses []identity.Address // where the other end may be dialled
	at        identity.Address   // where it was; zero: it has dialled

	in       *frameReader
	calm     func() bool // ends the watch over the context; false: it has ended
	told     *serviceTable
	peer     *wire.Hello
	readOnly bool
	chose    bool  // this node has chosen it
	had      *link // to the same node, before this one has said hello; nil: none

	// With Config.Durable.
	known   []kept        // that were offered
	session *session      // that the link is to have: a fresh one, or one of them
	theirs  durable.Offer // that goes with it
	number  uint64        // of the connection; 0: this node decides
	heard   bool          // the other end has said that it is ready
	ready   uint64        // what it had said when it did
}

// hello says hello and reads the other end's.
func (n *Node) hello(o *candidate) (err error) {
	o.told = n.table.Load()
	hello := wire.Hello{MinVersion: wire.Version, MaxVersion: wire.Version, Network: n.cfg.Network, Instance: n.instance,
		MaxMessage: uint32(n.cfg.Limits.Message), RoutedWindow: uint32(n.cfg.Limits.RoutedWindow), Services: n.announced()}
	if n.cfg.Durable {
		o.session = n.newSession(o.c.Node())
		hello.Session, hello.Said, hello.Renew = o.session.ch.Offer(), n.said.Add(1), o.renews != nil
		o.known = n.resumable(o)
		for _, k := range o.known {
			hello.Resume = append(hello.Resume, k.offer())
		}
	}
	if _, err := o.c.Write(wire.AppendHello(nil, &hello)); err != nil {
		o.c.Close(err)
		return err
	}
	o.in = &frameReader{c: o.c}
	if o.peer, err = n.readHello(o.in); err != nil {
		return n.reject(o.c, err)
	}
	if o.theirs = o.peer.Session; o.theirs.Epoch.IsZero() {
		o.session = nil
	}
	return nil
}

// agree asks the behaviours, and has both sides say that they are ready.
func (n *Node) agree(ctx context.Context, o *candidate) (err error) {
	if o.readOnly, err = n.admit(ctx, o.c, o.dir, o.peer); err != nil {
		return n.reject(o.c, err)
	}
	old, err := n.choose(ctx, o)
	if err != nil {
		return n.reject(o.c, err)
	}
	if old != nil {
		err = n.supersede(ctx, old, o)
	}
	if err == nil {
		err = n.sayReady(o)
	}
	if err == nil && !o.heard {
		err = o.hearReady()
	}
	if err == nil && !o.calm() {
		err = &conn.CloseError{Code: conn.CodeTimeout, Err: context.Cause(ctx)}
	}
	if err == nil {
		return nil
	}
	if ce := (*conn.CloseError)(nil); o.session != nil {
		n.settleSession(o.session, errors.As(err, &ce) && ce.Remote && ce.Code != conn.CodeUnreachable)
	}
	return n.reject(o.c, err)
}

// sayReady says that this end is ready. From now on the other end may open.
func (n *Node) sayReady(o *candidate) error {
	frame := wire.AppendPrefix(nil, wire.TypeReady, 0)
	if o.session != nil {
		n.keepSession(o.session, o.theirs.Epoch)
		if o.chose {
			o.number = o.session.ch.Number()
		}
		frame = wire.AppendReady(nil, n.said.Add(1), o.number)
	}
	_, err := o.c.Write(frame)
	return err
}

// hearReady waits until the other end is ready.
func (o *candidate) hearReady() error {
	body, err := o.in.next(wire.TypeReady)
	if err != nil {
		return err
	}
	said, number := wire.ParseReady(body)
	o.ready, o.heard = said, true
	if o.session != nil && !o.chose {
		if o.number = number; number == 0 {
			return fmt.Errorf("%w: ready without the number of the connection", wire.ErrMalformed)
		}
	}
	return nil
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
// if it is alive and the other end has not started anew; else it is old, and has to
// end first.
func (n *Node) choose(ctx context.Context, o *candidate) (old *link, err error) {
	node := o.c.Node()
	if n.self.Compare(node) > 0 {
		return nil, nil
	}
	n.mu.Lock()
	for other := n.pending[node]; other != nil; other = n.pending[node] {
		n.mu.Unlock()
		if n.env.Wait(other, ctx.Done(), nil) == 1 { // it may yet fail, or open and end
			return nil, &conn.CloseError{Code: conn.CodeTimeout, Err: context.Cause(ctx)}
		}
		n.mu.Lock()
	}
	n.pending[node] = make(chan struct{})
	old = n.byNode[node]
	n.mu.Unlock()
	o.chose = true
	if old != nil && n.stays(ctx, old, o) {
		n.count.replaced.Add(1)
		return nil, errReplaced
	}
	return old, nil
}

var errUnknown = &conn.CloseError{Code: conn.CodeReplaced, Reason: "this node does not know the link that is to be renewed"}

var errReplaced = &conn.CloseError{Code: conn.CodeReplaced, Reason: "another connection between the two nodes is open or about to"}

// stays reports whether an open link is to stay in spite of another connection.
func (n *Node) stays(ctx context.Context, old *link, o *candidate) bool {
	switch {
	case old.peerInstance != o.peer.Instance:
		return old != o.had
	case old.cause() != nil:
		return false
	case old.session != nil && o.peer.Said > 0:
		return !old.disowns(o.peer)
	}
	return n.alive(ctx, old)
}

// supersede ends a link in whose place another connection is to open, on the side
// that has chosen that.
//
// What says that the other end has started anew may come late, from a life that
// has ended since: after the hello of its next life. So it has to be answered for
// first, by a ready, which follows on this node's hello. Who says it has not ended
// before that hello; and the link was there already, so it is with an earlier life.
func (n *Node) supersede(ctx context.Context, old *link, o *candidate) error {
	if old.peerInstance != o.peer.Instance {
		if err := o.hearReady(); err != nil {
			return err
		}
	}
	old.abort(&conn.CloseError{Code: conn.CodeReplaced, Reason: "the other end has started anew"})
	if n.env.Wait(old.ended, ctx.Done(), nil) == 1 {
		return &conn.CloseError{Code: conn.CodeTimeout, Err: context.Cause(ctx)}
	}
	return nil
}

// chosen ends what choose began.
func (n *Node) chosen(node identity.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.pending[node])
	delete(n.pending, node)
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
	if err := f.have(wire.PrefixSize); err != nil {
		return nil, err
	}
	got, size := wire.Prefix(f.buf[f.r:])
	if got != t && got != wire.TypeGoodbye || size > wire.MaxHello+1024 {
		return nil, fmt.Errorf("%w: the handshake brought a frame of type %d with %d bytes in place of type %d", wire.ErrMalformed, got, size, t)
	}
	if err := f.have(wire.PrefixSize + size); err != nil {
		return nil, err
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

// rest returns what follows the frames that were read.
func (f *frameReader) rest() []byte { return f.buf[f.r:f.w] }

// attach reads which connection of a session this one is, or a goodbye.
func (f *frameReader) attach() (number uint64, err error) {
	if err := f.have(wire.PrefixSize); err != nil {
		return 0, err
	}
	if t, _ := wire.Prefix(f.rest()); t == wire.TypeGoodbye {
		_, err := f.next(wire.TypeReady)
		return 0, err
	}
	if err := f.have(durable.AttachFrame); err != nil {
		return 0, err
	}
	if number, err = durable.ParseAttach(f.rest()); err != nil {
		return 0, fmt.Errorf("%w: %v", wire.ErrMalformed, err)
	}
	f.r += durable.AttachFrame
	return number, nil
}

// have reads until there are n bytes.
func (f *frameReader) have(n int) error {
	for f.w-f.r < n {
		if err := f.fill(n); err != nil {
			return err
		}
	}
	return nil
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
