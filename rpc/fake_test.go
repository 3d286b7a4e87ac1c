package rpc_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A fabric is a network of nodes in one process, with no more in it than rpc
// needs: connections with a reader each, and a turn for each behaviour.
type fabric struct {
	mu       sync.Mutex
	nodes    map[identity.NodeID]*node
	lastConn identity.ConnID
	wait     sync.WaitGroup
	// intercept sees each message that arrives; false: it is lost.
	intercept func(at *node, m *conn.Message) bool
	maxSize   int // of a message; 0: any
}

type node struct {
	f        *fabric
	id       identity.NodeID
	mu       sync.Mutex
	services map[identity.ServiceID]*service
	ends     []*end
	via      map[identity.NodeID]identity.NodeID
	toKey    identity.NodeID // where ToKey leads
	provider identity.NodeID // where ToService leads; zero: a neighbour that serves it
}

type service struct {
	n     *node
	id    identity.ServiceID
	b     behavior.Behavior
	parts []behavior.Part
	agent *agent.Behavior
	stop  context.CancelCauseFunc

	mu    sync.Mutex
	queue []func()
	busy  bool
	gone  bool
	held  chan struct{} // while not nil and open, the turn waits
}

// An end is one end of a connection, with what has been sent to it.
type end struct {
	id   identity.ConnID
	n    *node
	peer *end

	mu      sync.Mutex
	cond    sync.Cond
	items   []item
	bytes   []byte
	spare   []item // with spareB: what has been read, to be used again
	spareB  []byte
	closed  bool
	limit   int // bytes that may wait; 0: any number
	stalled bool
	ready   chan struct{}
}

type item struct {
	origin identity.NodeID
	from   identity.ServiceID
	to     router.Route
	svc    identity.ServiceID
	kind   conn.Kind
	id     uint64
	report bool
	hops   uint8
	length int
	note   *agent.Report // a report on its way back
}

func newFabric(t testing.TB) *fabric {
	f := &fabric{nodes: make(map[identity.NodeID]*node)}
	t.Cleanup(f.close)
	return f
}

func (f *fabric) close() {
	for _, n := range f.nodes {
		for _, s := range n.services {
			s.halt()
		}
	}
	for _, n := range f.nodes {
		for _, e := range n.list() {
			f.cut(e, conn.ErrClosed)
		}
	}
	f.wait.Wait()
}

func (f *fabric) node(name string) *node {
	var id identity.NodeID
	copy(id[:], name)
	n := &node{f: f, id: id, services: make(map[identity.ServiceID]*service), via: make(map[identity.NodeID]identity.NodeID)}
	f.nodes[id] = n
	return n
}

// serve registers a behaviour and starts it.
func (n *node) serve(id identity.ServiceID, b behavior.Behavior) *service {
	if err := behavior.Check(b); err != nil {
		panic(err)
	}
	s := &service{n: n, id: id, b: b}
	if p, ok := b.(behavior.Parted); ok {
		s.parts = p.Parts()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.stop = cancel
	s.agent = agent.NewBehavior(agent.Env{Self: n.id, Service: id, Clock: surroundings{}, Source: surroundings{}, Log: slog.New(slog.DiscardHandler), Context: ctx, Backend: s})
	_ = s.do(ctx, func() {
		for _, p := range s.parts {
			p.(behavior.PartObserver).PartStart(s.agent)
		}
	})
	n.mu.Lock()
	n.services[id] = s
	n.mu.Unlock()
	return s
}

type surroundings struct{}

func (surroundings) Now() time.Time { return time.Now() }
func (surroundings) Uint64() uint64 { return rand.Uint64() }

// connect connects two nodes and returns the end of the first.
func (f *fabric) connect(a, b *node) *end {
	f.mu.Lock()
	f.lastConn += 2
	x := &end{id: f.lastConn - 1, n: a}
	y := &end{id: f.lastConn, n: b, peer: x}
	x.peer = y
	f.mu.Unlock()
	for _, e := range []*end{x, y} {
		e.cond.L = &e.mu
		e.ready = make(chan struct{})
		e.n.mu.Lock()
		e.n.ends = append(e.n.ends, e)
		e.n.mu.Unlock()
		f.wait.Go(e.read)
	}
	return x
}

// cut ends a connection and tells both sides.
func (f *fabric) cut(x *end, cause error) {
	for _, e := range []*end{x, x.peer} {
		e.mu.Lock()
		was := e.closed
		e.closed = true
		e.cond.Broadcast()
		e.mu.Unlock()
		if was {
			continue
		}
		e.n.mu.Lock()
		e.n.ends = slices.DeleteFunc(slices.Clone(e.n.ends), func(o *end) bool { return o == e })
		e.n.mu.Unlock()
		for _, s := range e.n.all() {
			s.put(func() {
				for _, p := range s.parts {
					p.(behavior.PartObserver).PartDisconnect(s.agent, conn.Info{ID: e.id, Node: e.peer.n.id}, cause)
				}
			})
		}
	}
}

func (n *node) list() []*end {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ends
}

func (n *node) all() []*service {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.services))
}

func (n *node) service(id identity.ServiceID) *service {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.services[id]
}

func (n *node) endTo(id identity.NodeID) *end {
	for _, e := range n.list() {
		if e.peer.n.id == id {
			return e
		}
	}
	if hop, ok := n.via[id]; ok && hop != id {
		return n.endTo(hop)
	}
	return nil
}

// next finds where an item goes from here: a connection, or here, for nil.
func (n *node) next(it item) (*end, error) {
	to := it.to
	switch to.Rule {
	case router.RuleConn:
		for _, e := range n.list() {
			if e.id == to.Conn {
				return e, nil
			}
		}
		return nil, agent.ErrNoConn
	case router.RuleKey:
		to = router.ToNode(n.toKey)
	case router.RuleService:
		if n.service(it.svc) != nil {
			return nil, nil
		}
		if !n.provider.IsZero() {
			to = router.ToNode(n.provider)
			break
		}
		for _, e := range n.list() {
			if e.peer.n.service(it.svc) != nil {
				return e, nil
			}
		}
		return nil, agent.ErrNoService
	}
	if to.Node() == n.id {
		return nil, nil
	}
	e := n.endTo(to.Node())
	if e == nil || to.Rule != router.RuleNode {
		return nil, agent.ErrNoRoute
	}
	return e, nil
}

// Send, with what follows, makes a service the backend of its agent.
func (s *service) Send(o agent.Outgoing) error {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if gone {
		return agent.ErrStopped
	}
	if s.n.f.maxSize > 0 && len(o.Payload) > s.n.f.maxSize {
		return agent.ErrTooLarge
	}
	it := item{origin: s.n.id, from: s.id, to: o.To, svc: o.To.Service, kind: o.Kind, id: o.ID, report: o.Report, hops: 1, length: len(o.Payload)}
	if it.svc == 0 {
		it.svc = s.id
	}
	e, err := s.n.next(it)
	if err != nil {
		return err
	}
	if e != nil {
		return e.peer.push(it, o.Payload)
	}
	if d := s.n.service(it.svc); d != nil {
		s.n.local(d, it, o.Payload)
		return nil
	}
	return agent.ErrNoService
}

// local delivers an item on the turn of a behaviour of the same node.
func (n *node) local(d *service, it item, payload []byte) {
	payload = slices.Clone(payload)
	it.hops = 0
	d.put(func() { n.arrive(nil, &it, payload) })
}

func (s *service) Ready(to router.Route) <-chan struct{} {
	e, err := s.n.next(item{to: to, svc: to.Service})
	if err != nil || e == nil {
		return nil // no test waits for this
	}
	e.peer.mu.Lock()
	defer e.peer.mu.Unlock()
	return e.peer.ready
}

func (s *service) Conns() (all []conn.Info) {
	for _, e := range s.n.list() {
		all = append(all, conn.Info{ID: e.id, Node: e.peer.n.id})
	}
	return all
}

func (s *service) Stats(identity.ConnID) (conn.Stats, bool) { return conn.Stats{}, false }

func (s *service) Do(op agent.Op) error {
	if op.Code == agent.OpDo {
		return s.do(op.Context, op.Func)
	}
	return fmt.Errorf("fabric: no operation %d", op.Code)
}

func (s *service) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !s.put(func() { defer close(done); f() }) {
		return agent.ErrStopped
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// put queues f for the behaviour's turn.
func (s *service) put(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false
	}
	s.queue = append(s.queue, f)
	if !s.busy {
		s.busy = true
		s.n.f.wait.Go(s.turn)
	}
	return true
}

func (s *service) turn() {
	for {
		s.mu.Lock()
		held := s.held
		if len(s.queue) == 0 {
			s.busy = false
			s.mu.Unlock()
			return
		}
		f := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		if held != nil {
			<-held
		}
		f()
	}
}

// halt stops the behaviour.
func (s *service) halt() {
	_ = s.do(context.Background(), func() {
		for _, p := range s.parts {
			p.(behavior.PartObserver).PartStop(s.agent)
		}
		s.mu.Lock()
		s.gone = true
		s.mu.Unlock()
	})
	s.stop(agent.ErrStopped)
	s.n.mu.Lock()
	delete(s.n.services, s.id)
	s.n.mu.Unlock()
}

func (e *end) push(it item, payload []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return agent.ErrNoConn
	case e.limit > 0 && len(e.bytes)+len(payload) > e.limit:
		return agent.ErrQueueFull
	}
	it.length = len(payload)
	e.items = append(e.items, it)
	e.bytes = append(e.bytes, payload...)
	if len(e.items) == 1 {
		e.cond.Signal()
	}
	return nil
}

// stall makes the reader wait, or go on.
func (e *end) stall(yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stalled = yes
	e.cond.Broadcast()
}

func (e *end) read() {
	for {
		e.mu.Lock()
		for (len(e.items) == 0 || e.stalled) && !e.closed {
			e.cond.Wait()
		}
		if e.closed {
			e.mu.Unlock()
			return
		}
		items, bytes := e.items, e.bytes
		e.items, e.bytes = e.spare[:0], e.spareB[:0]
		if e.limit > 0 {
			close(e.ready)
			e.ready = make(chan struct{})
		}
		e.mu.Unlock()
		at := 0
		for i := range items {
			it := &items[i]
			e.n.arrive(e, it, bytes[at:at+it.length])
			at += it.length
		}
		clear(items)
		e.spare, e.spareB = items, bytes
	}
}

// arrive delivers an item, sends it on, or reports it.
func (n *node) arrive(e *end, it *item, payload []byte) {
	if it.note != nil {
		n.note(it)
		return
	}
	var hop *end
	var err error
	if it.to.Rule != router.RuleConn {
		if hop, err = n.next(*it); err == nil && hop != nil {
			it.hops++
			err = hop.peer.push(*it, payload)
		}
	}
	s := n.service(it.svc)
	if err == nil && hop != nil {
		return
	}
	if err == nil && s == nil {
		err = agent.ErrNoService
	}
	if err != nil {
		if it.report {
			back := item{to: router.ToNode(it.origin), note: &agent.Report{ID: it.id, Kind: it.kind, To: it.svc, From: n.id, Failure: err}, svc: it.from}
			n.note(&back)
		}
		return
	}
	m := messages.Get().(*conn.Message)
	defer messages.Put(m)
	*m = conn.Message{Service: it.svc, Kind: it.kind, FromService: it.from, From: it.origin, Hops: it.hops, Payload: payload}
	if e != nil {
		m.Conn = e.id
	}
	if n.f.intercept != nil && !n.f.intercept(n, m) {
		return
	}
	for _, p := range s.parts {
		if p.Take(s.agent, m) {
			return
		}
	}
	kept := *m
	kept.Payload = slices.Clone(payload)
	s.put(func() { s.b.OnMessage(s.agent, &kept) })
}

var messages = sync.Pool{New: func() any { return new(conn.Message) }}

// note sends a report on its way home, or delivers it.
func (n *node) note(it *item) {
	if next, err := n.next(*it); next != nil && err == nil {
		_ = next.peer.push(*it, nil)
		return
	}
	if s := n.service(it.svc); s != nil {
		note := *it.note
		s.put(func() {
			for _, p := range s.parts {
				p.(behavior.PartObserver).PartReport(s.agent, note)
			}
		})
	}
}
