package discovery

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A sim is a network of Discoveries on virtual time, in one goroutine. Runs with
// one seed are the same to the byte.
type sim struct {
	t      *testing.T
	now    time.Time
	events eventQueue
	count  uint64
	rng    *rand.Rand
	nodes  []*simNode
	byName map[string]*simNode
	cut    func(a, b *simNode) bool // what a partition separates
	trace  hash.Hash
	conf   func(*simNode, *Config)
}

type event struct {
	at  time.Time
	seq uint64
	run func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].seq, q[j].seq)) < 0
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// A simNode is one life of a node, and its backend.
type simNode struct {
	s         *sim
	index     int
	name      string
	key       identity.PrivateKey
	id        identity.NodeID
	skew      time.Duration
	alive     bool
	disc      *Discovery
	agent     *agent.Behavior
	conns     map[identity.ConnID]*simConn
	lastConn  identity.ConnID
	dialing   map[identity.NodeID]bool
	directory map[identity.NodeID][]identity.ServiceID
	sent      int
	sentBytes int
	ends      []error
}

// A simConn is one end of a connection.
type simConn struct {
	info conn.Info
	node *simNode
	far  *simConn
	open bool
}

func newSim(t *testing.T, seed uint64) *sim {
	return &sim{t: t, now: time.UnixMilli(1_800_000_000_000), rng: rand.New(rand.NewPCG(seed, 1)), byName: map[string]*simNode{}, trace: sha256.New()}
}

func (s *sim) after(d time.Duration, f func()) {
	s.count++
	heap.Push(&s.events, event{s.now.Add(d), s.count, f})
}

// run lets virtual time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.events) > 0 && !s.events[0].at.After(end) {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.run()
	}
	s.now = end
}

// until runs until cond holds and returns how long that took.
func (s *sim) until(limit time.Duration, rule string, cond func() bool) time.Duration {
	s.t.Helper()
	start := s.now
	for !cond() {
		if s.now.Sub(start) >= limit {
			s.t.Fatalf("not within %v: %s", limit, rule)
		}
		s.run(50 * time.Millisecond)
	}
	return s.now.Sub(start)
}

func testKey(i int) identity.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "discovery test node %d", i))
	key, err := identity.PrivateKeyFromSeed(seed[:])
	if err != nil {
		panic(err)
	}
	return key
}

func memAddress(name string) identity.Address { return identity.Address{Scheme: "mem", Host: name} }

func (n *simNode) peer() identity.PeerAddress {
	return identity.PeerAddress{ID: n.id, Addresses: []identity.Address{memAddress(n.name)}}
}

// add makes node i, with the given seeds; start gives it life.
func (s *sim) add(i int, seeds ...identity.PeerAddress) *simNode {
	n := &simNode{s: s, index: i, name: fmt.Sprintf("n%d", i), key: testKey(i)}
	n.id = n.key.ID()
	s.nodes = append(s.nodes, n)
	s.byName[n.name] = n
	n.start(seeds...)
	return n
}

// start begins a new life of the node, with nothing but its key.
func (n *simNode) start(seeds ...identity.PeerAddress) {
	n.alive, n.conns, n.dialing = true, map[identity.ConnID]*simConn{}, map[identity.NodeID]bool{}
	n.directory = map[identity.NodeID][]identity.ServiceID{}
	c := Config{Seeds: seeds, Key: n.key, Directory: n,
		Addresses: func() []identity.Address { return []identity.Address{memAddress(n.name)} },
		Services:  func() []conn.Service { return []conn.Service{{ID: Service, Name: Name, Version: 1}} }}
	if n.s.conf != nil {
		n.s.conf(n, &c)
	}
	n.disc = New(c)
	n.agent = agent.NewBehavior(agent.Env{Self: n.id, Service: Service, Clock: n, Source: rand.NewPCG(n.s.rng.Uint64(), 2),
		Log: slog.New(slog.DiscardHandler), Context: context.Background(), Backend: n})
	if err := n.disc.OnStart(n.agent); err != nil {
		n.s.t.Fatal(err)
	}
	disc := n.disc
	var tick func()
	tick = func() {
		if n.alive && n.disc == disc {
			disc.OnTick(n.agent, n.Now())
			n.s.after(disc.Describe().Tick, tick)
		}
	}
	n.s.after(time.Duration(n.s.rng.Int64N(int64(250*time.Millisecond))), tick)
}

// kill ends the node without a word: its peers notice a second later.
func (n *simNode) kill() {
	n.alive = false
	for _, c := range n.sortedConns() {
		c.open = false
		far := c.far
		n.s.after(time.Second, func() { far.ended(&conn.CloseError{Code: conn.CodeTimeout}) })
	}
}

// stop ends the node properly.
func (n *simNode) stop() {
	n.disc.OnStop(n.agent)
	n.alive = false
	for _, c := range n.sortedConns() {
		far := c.far
		n.s.after(c.latency(), func() { far.ended(&conn.CloseError{Code: conn.CodeShutdown, Remote: true}) })
	}
}

func (n *simNode) sortedConns() []*simConn {
	var out []*simConn
	for _, c := range n.conns {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *simConn) int { return cmp.Compare(a.info.ID, b.info.ID) })
	return out
}

func (s *sim) separated(a, b *simNode) bool { return s.cut != nil && s.cut(a, b) }

// latency is 1 to 20 ms, the same for a pair of nodes at all times.
func latency(a, b *simNode) time.Duration {
	return time.Millisecond * time.Duration(1+(a.index*7+b.index*7)%20)
}

func (c *simConn) latency() time.Duration { return latency(c.node, c.far.node) }

func (c *simConn) ended(cause error) {
	if c.node.conns[c.info.ID] != c {
		return
	}
	c.open = false
	delete(c.node.conns, c.info.ID)
	c.node.s.note("end", c.node, c.info.Node, uint64(c.info.ID), nil)
	if c.node.alive {
		c.node.ends = append(c.node.ends, cause)
		c.node.disc.OnDisconnect(c.node.agent, c.info, cause)
	}
}

// note adds an event to the trace.
func (s *sim) note(what string, at *simNode, id identity.NodeID, n uint64, payload []byte) {
	fmt.Fprint(s.trace, what, s.now.UnixNano(), at.index, n)
	s.trace.Write(id[:])
	s.trace.Write(binary.BigEndian.AppendUint32(nil, uint32(len(payload))))
	s.trace.Write(payload)
}

func (n *simNode) SetNode(id identity.NodeID, services []identity.ServiceID) {
	n.directory[id] = slices.Clone(services)
}
func (n *simNode) RemoveNode(id identity.NodeID) { delete(n.directory, id) }

// The backend.

func (n *simNode) Now() time.Time { return n.s.now.Add(n.skew) }

func (n *simNode) Send(o agent.Outgoing) error {
	c := n.conns[o.To.Conn]
	if o.To.Rule != router.RuleConn || c == nil || !c.open {
		return agent.ErrNoConn
	}
	if len(o.Payload) > maxMessage {
		n.s.t.Errorf("message of %d bytes", len(o.Payload))
	}
	n.sent++
	n.sentBytes += len(o.Payload)
	payload, kind, from := slices.Clone(o.Payload), o.Kind, n.id
	far := c.far
	n.s.after(c.latency(), func() {
		if far.node.conns[far.info.ID] != far || !far.node.alive || n.s.separated(n, far.node) {
			return
		}
		n.s.note("msg", far.node, from, uint64(kind), payload)
		far.node.disc.OnMessage(far.node.agent, &conn.Message{Service: Service, FromService: Service, Kind: kind, From: from, Conn: far.info.ID, Hops: 1, Payload: payload})
	})
	return nil
}

func (n *simNode) Do(op agent.Op) error {
	switch op.Code {
	case agent.OpDo:
		op.Func()
	case agent.OpDial:
		return n.dial(op.Peer)
	case agent.OpClose:
		c := n.conns[op.Conn]
		if c == nil || !c.open {
			return agent.ErrNoConn
		}
		c.open = false
		cause := conn.AsCloseError(op.Cause)
		far := c.far
		n.s.after(0, func() { c.ended(cause) })
		n.s.after(c.latency(), func() { far.ended(&conn.CloseError{Code: cause.Code, Reason: cause.Reason, Remote: true}) })
	default:
		n.s.t.Errorf("operation %d was not expected", op.Code)
	}
	return nil
}

func (n *simNode) connected(id identity.NodeID) bool {
	for _, c := range n.conns {
		if c.info.Node == id {
			return true
		}
	}
	return false
}

func (n *simNode) dial(p identity.PeerAddress) error {
	switch {
	case p.ID == n.id:
		return agent.ErrSelf
	case n.connected(p.ID):
		return agent.ErrConnected
	case n.dialing[p.ID]:
		return nil
	}
	n.dialing[p.ID] = true
	disc := n.disc
	fail := func() {
		if n.alive && n.disc == disc {
			delete(n.dialing, p.ID)
			n.disc.OnDialError(n.agent, conn.Dial{Peer: p}, conn.CodeUnreachable)
		}
	}
	far := n.s.byName[p.Addresses[0].Host]
	if far == nil {
		n.s.after(time.Second, fail)
		return nil
	}
	n.s.after(3*latency(n, far), func() {
		switch {
		case !n.alive || n.disc != disc:
		case !far.alive || far.id != p.ID || n.s.separated(n, far):
			n.s.after(time.Second, fail)
		default:
			delete(n.dialing, p.ID)
			n.s.connect(n, far)
		}
	})
	return nil
}

// connect opens a connection, unless the nodes that dialled each other at the
// same moment have one.
func (s *sim) connect(a, b *simNode) {
	if a.connected(b.id) {
		return
	}
	x := &simConn{node: a, open: true, info: conn.Info{Node: b.id, Direction: conn.Outgoing}}
	y := &simConn{node: b, far: x, open: true, info: conn.Info{Node: a.id, Direction: conn.Incoming}}
	x.far = y
	for _, c := range []*simConn{x, y} {
		c.node.lastConn++
		c.info.ID, c.info.Opened = c.node.lastConn, c.node.Now()
		c.node.conns[c.info.ID] = c
	}
	s.note("open", a, b.id, 0, nil)
	for _, c := range []*simConn{x, y} {
		if h := c.node.disc.OnConnect(c.node.agent, c.info); h != nil {
			s.t.Error("OnConnect returned a handler")
		}
	}
}

func (n *simNode) Ready(router.Route) <-chan struct{} { return nil }

func (n *simNode) Conns() []conn.Info {
	var out []conn.Info
	for _, c := range n.sortedConns() {
		out = append(out, c.info)
	}
	return out
}

func (n *simNode) Stats(identity.ConnID) (conn.Stats, bool) { return conn.Stats{}, false }
