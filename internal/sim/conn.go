package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// An end is one end of a connection. It implements [conn.DatagramConn] and
// [env.Feeder].
type end struct {
	// What every piece touches stands together.
	host    *Host
	peer    *end
	feed    func([]byte, error)
	err     error   // why it has ended, for this end
	early   []piece // pieces of the stream that have come before their turn
	held    []piece // wait behind a blocked way
	sent    uint64  // pieces of the stream, by this end
	taken   uint64  // pieces of the stream that have come here in their turn
	flight  int     // bytes of the stream that are under way to here
	allowed int     // how many of them still arrive, once the connection is cut; -1: all
	lane    lane    // from here to the peer
	stats   conn.TransportStats

	node  identity.NodeID // at the other end
	addr  identity.Address
	since int64

	read     []byte // has arrived, before Feed
	fed      bool   // with the end
	crashed  bool   // with its host
	expired  bool   // the read deadline
	readable chan struct{}
	writable chan struct{}
	ended    chan struct{}
	deadline env.Timer
	writeBy  time.Time // zero: no bound

	datagrams [][]byte
	arrived   chan struct{}
}

var (
	_ conn.DatagramConn = (*end)(nil)
	_ env.Feeder        = (*end)(nil)
)

// A piece is something under way to an end: bytes of the stream, its end, a
// datagram or a reset.
type piece struct {
	to    *end
	turn  uint64 // in the stream, from 1 on; 0: it is not of the stream
	data  []byte
	err   error // the end of the stream
	loose bool  // a datagram
	cause uint64
}

// stream sends a piece of the stream.
func (e *end) stream(at int64, p *piece) {
	w := e.host.world
	e.sent++
	e.peer.flight += len(p.data)
	p.to, p.turn, p.cause = e.peer, e.sent, w.trace.cause
	w.events.push(at, p)
}

const (
	maxDatagram  = 1200
	maxDatagrams = 128
	defaultQueue = 256 << 10
)

func newLine(w *World, d *dial, l *listener) (dialler, listener *end) {
	make1 := func(h *Host, node identity.NodeID, addr identity.Address, ln lane) *end {
		e := &end{host: h, node: node, addr: addr, lane: ln, allowed: -1, since: w.now,
			readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), ended: make(chan struct{})}
		h.lines = append(h.lines, e)
		return e
	}
	b := make1(l.host, d.node, l.addr, d.back)
	a := make1(d.from, l.node, d.local, d.out)
	a.peer, b.peer = b, a
	if d.life != d.from.life { // it has crashed since
		a.lost()
		d.from.lines = d.from.lines[:len(d.from.lines)-1]
	}
	return a, b
}

// A Line is an end of a connection that a host has.
type Line struct {
	Peer          int // the index of the other host
	Local, Remote identity.Address
	Since         time.Duration
}

// Lines returns the connections of the host, whatever its node knows of them,
// in the order in which they were made.
func (h *Host) Lines() []Line {
	all := make([]Line, len(h.lines))
	for i, e := range h.lines {
		all[i] = Line{e.peer.host.Index, e.addr, e.peer.addr, time.Duration(e.since)}
	}
	return all
}

func (e *end) Node() identity.NodeID        { return e.node }
func (e *end) LocalAddr() identity.Address  { return e.addr }
func (e *end) RemoteAddr() identity.Address { return e.peer.addr }
func (e *end) Features() conn.Features      { return conn.Features{CloseReason: true, Datagrams: true} }
func (e *end) MaxDatagram() int             { return maxDatagram }
func (e *end) Stats() conn.TransportStats   { return e.stats }

// token puts a token into a channel that holds one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Feed has f called with what arrives.
func (e *end) Feed(f func(p []byte, err error)) {
	e.feed = f
	if len(e.read) > 0 {
		p := e.read
		e.read = nil
		f(p, nil)
	}
	if e.err != nil {
		e.finish()
	}
}

// Read reads what has arrived, before Feed.
func (e *end) Read(p []byte) (int, error) {
	for {
		switch {
		case len(e.read) > 0:
			n := copy(p, e.read)
			e.read = e.read[n:]
			return n, nil
		case e.err != nil:
			return 0, e.err
		case e.expired:
			return 0, fmt.Errorf("sim: read: %w", os.ErrDeadlineExceeded)
		}
		e.host.Wait(e.readable, e.ended, nil)
	}
}

// SetReadDeadline bounds pending and later reads.
func (e *end) SetReadDeadline(t time.Time) error {
	if e.deadline != nil {
		e.deadline.Stop()
		e.deadline = nil
	}
	e.expired = false
	if t.IsZero() {
		return nil
	}
	expire := func() {
		e.expired = true
		token(e.readable)
	}
	if left := t.Sub(e.host.Now()); left > 0 {
		e.deadline = e.host.AfterFunc(left, expire)
	} else {
		expire()
	}
	return nil
}

// SetWriteDeadline bounds later writes, and pending ones as soon as they look at
// the rate of the path again.
func (e *end) SetWriteDeadline(t time.Time) error {
	e.writeBy = t
	token(e.writable)
	return nil
}

// Write sends a copy of p. It waits while more than Path.Queue bytes wait for
// the rate of the path.
func (e *end) Write(p []byte) (int, error) {
	w := e.host.world
	limit := e.lane.Queue
	if limit <= 0 {
		limit = defaultQueue
	}
	for e.err == nil && e.lane.backlog(w.now) > limit {
		if !e.writeBy.IsZero() && !e.host.Now().Before(e.writeBy) {
			return 0, fmt.Errorf("sim: write: %w", os.ErrDeadlineExceeded)
		}
		e.host.AfterFunc(time.Duration(float64(limit)*4e9/e.lane.Rate)+1, func() { token(e.writable) })
		e.host.Wait(e.writable, e.ended, nil)
	}
	if e.err != nil {
		return 0, e.err
	}
	at, lost := e.lane.stream(w, len(p))
	if lost {
		e.stats.PacketsLost++
	}
	e.stats.BytesSent += uint64(len(p))
	e.stats.PacketsSent++
	b := w.piece()
	b.data = append(b.data[:0], p...)
	e.stream(at, b)
	return len(p), nil
}

// Close ends the connection here; the other end reads what was written, then
// the cause.
func (e *end) Close(cause error) error {
	if e.err != nil {
		return nil
	}
	w := e.host.world
	if cause == nil {
		e.end(conn.ErrClosed)
	} else {
		e.end(cause)
	}
	ce := *conn.AsCloseError(cause)
	ce.Remote, ce.Err = true, nil
	at, _ := e.lane.stream(w, 0)
	e.stream(at, &piece{err: &ce})
	return nil
}

// end ends the connection for this end.
func (e *end) end(err error) {
	if e.err != nil {
		return
	}
	e.err = err
	close(e.ended)
	if e.deadline != nil {
		e.deadline.Stop()
	}
	h := e.host
	if i := slices.Index(h.lines, e); i >= 0 {
		h.lines = slices.Delete(h.lines, i, i+1)
	}
	if e.feed != nil {
		h.Go(e.finish)
	}
}

// finish feeds the end.
func (e *end) finish() {
	if !e.fed {
		e.fed = true
		e.feed(nil, e.err)
	}
}

// lost ends this end when its host vanishes: nobody is told.
func (e *end) lost() {
	e.err, e.crashed = errors.New("sim: the host is down"), true
}

// act is the arrival of a piece.
func (p *piece) act(w *World) {
	e := p.to
	from := e.peer.host
	switch {
	case p.loose && !w.open(from, e.host):
		return
	case !w.open(from, e.host):
		e.held = append(e.held, *p)
		return
	case !e.host.up():
		return
	case e.host.delays(p):
		return
	}
	switch {
	case e.err != nil:
		e.refuse(p)
	case p.turn == e.taken+1:
		e.taken++
		e.arrive(p)
		e.catchUp()
	case p.turn > 0:
		e.early = append(e.early, *p) // it was not held back on its way, as others were
	default:
		e.arrive(p)
	}
}

// catchUp takes what has come early and is in its turn now.
func (e *end) catchUp() {
	for i := 0; i < len(e.early); i++ {
		if p := e.early[i]; p.turn == e.taken+1 {
			e.taken++
			e.early = slices.Delete(e.early, i, i+1)
			e.arrive(&p)
			i = -1
		}
	}
}

// arrive is the arrival of a piece in its turn.
func (e *end) arrive(p *piece) {
	w := e.host.world
	if e.err != nil {
		e.refuse(p)
		return
	}
	w.trace.cause = p.cause
	if p.loose {
		e.datagram(p)
		w.pollFor(e.host)
		return
	}
	e.take(p)
	w.pollFor(e.host)
	if p.err == nil && cap(p.data) <= maxSpare && len(w.spare) < maxSpares {
		w.spare = append(w.spare, p)
	}
}

const (
	maxSpare  = 4 << 10 // bytes that a spare piece may hold
	maxSpares = 4096
)

// piece returns a piece to fill in.
func (w *World) piece() *piece {
	if n := len(w.spare); n > 0 {
		p := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return p
	}
	return &piece{}
}

// refuse answers what comes for a connection that has ended here. A host that
// has begun anew knows nothing of it and says so: a reset.
func (e *end) refuse(p *piece) {
	w := e.host.world
	if !p.loose {
		e.flight -= len(p.data)
	}
	if !e.crashed || p.err != nil || e.peer.err != nil {
		return
	}
	at, _ := e.lane.stream(w, 0)
	w.events.push(at, &piece{to: e.peer, err: &conn.CloseError{Code: conn.CodeUnreachable, Reason: "reset", Remote: true}, cause: p.cause})
}

// take delivers a piece of the stream.
func (e *end) take(p *piece) {
	h := e.host
	w := h.world
	if p.err != nil {
		w.trace.add(Event{At: w.Now(), Op: OpEnd, Node: h.Index, Peer: e.peer.host.Index})
		e.end(p.err)
		return
	}
	data := p.data
	e.flight -= len(data)
	if e.allowed >= 0 {
		data = data[:min(len(data), e.allowed)]
		e.allowed -= len(data)
	}
	e.measure()
	e.stats.BytesReceived += uint64(len(data))
	e.stats.PacketsReceived++
	if len(data) > 0 {
		w.trace.add(Event{At: w.Now(), Op: OpDeliver, Node: h.Index, Peer: e.peer.host.Index, Size: len(data)})
		if e.feed != nil {
			me := w.current
			me.host, me.life = h, h.life
			e.feed(data, nil)
			me.host = nil
		} else {
			e.read = append(e.read, data...)
			token(e.readable)
		}
	}
	if e.allowed == 0 {
		e.end(errCut)
	}
}

// errCut ends connections that were cut.
var errCut = &conn.CloseError{Code: conn.CodeUnreachable, Reason: "the connection was cut"}

// measure updates the round-trip time as a transport does (RFC 6298).
func (e *end) measure() {
	rtt := time.Duration(e.lane.one + e.peer.lane.one)
	s := &e.stats
	if s.RTT == 0 {
		s.RTT, s.MinRTT, s.RTTVariation = rtt, rtt, rtt/2
		return
	}
	s.RTTVariation += ((s.RTT - rtt).Abs() - s.RTTVariation) / 4
	s.RTT += (rtt - s.RTT) / 8
	s.MinRTT = min(s.MinRTT, rtt)
}

// release lets go on what has waited behind a blocked way.
func (e *end) release() {
	w := e.host.world
	held := e.held
	e.held = nil
	if e.peer.crashed {
		return // nobody is there to send again what did not get through
	}
	at := w.now + int64(e.peer.lane.Latency(w.Rand))
	for i := range held {
		w.events.push(at, &held[i])
	}
	e.peer.lane.last = max(e.peer.lane.last, at)
}

// cut lets a random part of what is under way to this end arrive, and no more.
func (e *end) cut() {
	if e.err != nil || e.allowed >= 0 {
		return
	}
	e.allowed = 0
	if e.flight > 0 {
		e.allowed = e.host.world.Rand.IntN(e.flight)
	}
	if e.allowed == 0 {
		e.end(errCut)
	}
}

// SendDatagram sends a copy of p.
func (e *end) SendDatagram(p []byte) error {
	w := e.host.world
	switch {
	case e.err != nil:
		return e.err
	case len(p) > maxDatagram:
		return fmt.Errorf("sim: datagram has %d bytes, at most %d are allowed", len(p), maxDatagram)
	}
	copies := 1
	if e.lane.Duplicate > 0 && w.Rand.Float64() < e.lane.Duplicate {
		copies = 2
	}
	e.stats.PacketsSent++
	data := slices.Clone(p)
	for range copies {
		at, arrives := e.lane.datagram(w, len(p))
		if !arrives {
			e.stats.PacketsLost++
			w.trace.add(Event{At: w.Now(), Op: OpLost, Node: e.peer.host.Index, Peer: e.host.Index, Size: len(p)})
			continue
		}
		w.events.push(at, &piece{to: e.peer, data: data, loose: true, cause: w.trace.cause})
	}
	return nil
}

func (e *end) datagram(p *piece) {
	w := e.host.world
	e.stats.PacketsReceived++
	w.trace.add(Event{At: w.Now(), Op: OpDatagram, Node: e.host.Index, Peer: e.peer.host.Index, Size: len(p.data)})
	if len(e.datagrams) >= maxDatagrams {
		return
	}
	e.datagrams = append(e.datagrams, slices.Clone(p.data))
	if e.arrived != nil {
		token(e.arrived)
	}
}

// ReceiveDatagram waits for the next datagram.
func (e *end) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	if e.arrived == nil {
		e.arrived = make(chan struct{}, 1)
	}
	for {
		switch {
		case len(e.datagrams) > 0:
			p := e.datagrams[0]
			e.datagrams = e.datagrams[1:]
			return p, nil
		case e.err != nil:
			return nil, e.err
		}
		if e.host.Wait(e.arrived, ctx.Done(), e.ended) == 1 {
			return nil, context.Cause(ctx)
		}
	}
}
