package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// Scheme is that of addresses in a world.
const Scheme = "sim"

// A transport is the network card of a host, for one node.
type transport struct {
	host      *Host
	life      int
	listeners []*listener
	dials     int
}

var (
	_ conn.Transport = (*transport)(nil)
	_ env.Provider   = (*transport)(nil)
)

// Env returns the host: it is the environment of its node.
func (t *transport) Env() env.Env { return t.host }

func (t *transport) Schemes() []string { return []string{Scheme} }

// A dial is on its way to a listener and back.
type dial struct {
	from  *Host
	life  int
	node  identity.NodeID
	want  identity.NodeID
	place string
	local identity.Address
	try   int
	out   lane // to the listener
	back  lane
	done  chan struct{}
	given bool // the dialler has given up
	conn  *end
	err   error
	cause uint64
}

// Dial takes a round trip. Where the way is blocked or the host is down it
// tries again until ctx ends.
func (t *transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	h := t.host
	w := h.world
	local = local.WithDefaults()
	h.id = local.Key.ID()
	w.byID[h.id] = h
	t.dials++
	ctx, cancel := env.WithTimeout(h, ctx, local.HandshakeTimeout)
	defer cancel()
	d := &dial{from: h, life: h.life, node: h.id, want: peer, place: addr.Host, done: make(chan struct{}),
		local: identity.Address{Scheme: Scheme, Host: fmt.Sprintf("%s-%d", h.Name, t.dials)}}
	w.trace.add(Event{At: w.Now(), Op: OpDial, Node: h.Index, Peer: w.at(addr.Host), Name: addr.Host})
	d.cause = w.trace.cause
	d.send(w)
	if h.Wait(d.done, ctx.Done(), nil) == 1 {
		d.given = true
		return nil, fmt.Errorf("sim: dial %s: %w", addr, context.Cause(ctx))
	}
	if d.err != nil {
		return nil, fmt.Errorf("sim: dial %s: %w", addr, d.err)
	}
	return d.conn, nil
}

// at returns the index of the host that listens at a place, -1 if none does.
func (w *World) at(place string) int {
	if l := w.places[place]; l != nil {
		return l.host.Index
	}
	return -1
}

// again is how long after the first attempt a dial tries again; then it doubles.
const again = int64(time.Second)

func (d *dial) send(w *World) {
	l := w.places[d.place]
	if l == nil || !w.open(d.from, l.host) || !w.open(l.host, d.from) {
		w.events.push(w.now+again<<min(d.try, 6), d)
		d.try++
		return
	}
	d.out, d.back = lane{Path: w.pathOf(d.from, l.host)}, lane{Path: w.pathOf(l.host, d.from)}
	at, _ := d.out.stream(w, 100)
	w.events.push(at, (*arrival)(d))
}

// act tries again.
func (d *dial) act(w *World) {
	if !d.given && d.life == d.from.life {
		d.send(w)
	}
}

// An arrival is a dial that reaches the host that it is for.
type arrival dial

func (a *arrival) act(w *World) {
	d := (*dial)(a)
	l := w.places[d.place]
	if l == nil || !w.open(d.from, l.host) {
		d.act(w)
		return
	}
	h := l.host
	if h.delays(a) {
		return
	}
	w.trace.cause = d.cause
	if d.want.IsZero() || d.want == l.node {
		mine, theirs := newLine(w, d, l)
		d.conn = mine
		l.offer(theirs)
	} else {
		d.err = &conn.WrongNodeError{Want: d.want, Got: l.node}
	}
	at, _ := d.back.stream(w, 100)
	w.events.push(at, (*answer)(d))
}

// An answer is a dial that is back.
type answer dial

func (a *answer) act(w *World) {
	d := (*dial)(a)
	if d.life != d.from.life || d.from.delays(a) {
		return
	}
	if d.given {
		if d.conn != nil {
			_ = d.conn.Close(nil) // never fails
		}
		return
	}
	w.trace.cause = d.cause
	close(d.done)
	w.pollFor(d.from)
}

// A listener is a place where a node can be dialled.
type listener struct {
	host   *Host
	node   identity.NodeID
	addr   identity.Address
	queue  []*end
	ready  chan struct{} // holds a token while there is something in queue
	closed chan struct{}
}

func (t *transport) Listen(_ context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	h := t.host
	w := h.world
	if addr.Scheme != Scheme || addr.Host != h.Name {
		return nil, fmt.Errorf("sim: listen at %s: this host has one address, %s://%s", addr, Scheme, h.Name)
	}
	if w.places[h.Name] != nil {
		return nil, errors.New("sim: listen at " + addr.String() + ": the address is in use")
	}
	h.id = local.Key.ID()
	w.byID[h.id] = h
	l := &listener{host: h, node: h.id, addr: addr, ready: make(chan struct{}, 1), closed: make(chan struct{})}
	w.places[h.Name] = l
	t.listeners = append(t.listeners, l)
	return l, nil
}

func (t *transport) Close() error {
	for _, l := range t.listeners {
		l.Close()
	}
	return nil
}

func (l *listener) offer(e *end) {
	w := l.host.world
	w.trace.add(Event{At: w.Now(), Op: OpAccept, Node: l.host.Index, Peer: e.peer.host.Index})
	l.queue = append(l.queue, e)
	select {
	case l.ready <- struct{}{}:
	default:
	}
	w.pollFor(l.host)
}

func (l *listener) Accept(ctx context.Context) (conn.Conn, error) {
	for {
		if len(l.queue) > 0 {
			e := l.queue[0]
			l.queue = l.queue[1:]
			return e, nil
		}
		switch l.host.Wait(l.ready, ctx.Done(), l.closed) {
		case 1:
			return nil, context.Cause(ctx)
		case 2:
			return nil, conn.ErrClosed
		}
	}
}

func (l *listener) Addr() identity.Address { return l.addr }

func (l *listener) Close() error {
	w := l.host.world
	if w.places[l.host.Name] != l {
		return nil
	}
	delete(w.places, l.host.Name)
	close(l.closed)
	for _, e := range l.queue {
		e.Close(&conn.CloseError{Code: conn.CodeShutdown})
	}
	l.queue = nil
	return nil
}
