package state

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// epoch is when simulations begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// testKey returns the key of the n-th node.
func testKey(n int) identity.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("state test"), uint64(n)))
	key, err := identity.PrivateKeyFromSeed(seed[:])
	if err != nil {
		panic(err)
	}
	return key
}

// cheapSign and cheapVerify stand in for ed25519 where a test needs many
// signatures.
func cheapSign(key identity.PrivateKey, msg []byte) []byte {
	id := key.ID()
	sum := sha512.Sum512(append(id[:], msg...))
	return sum[:]
}

func cheapVerify(id identity.NodeID, msg, sig []byte) bool {
	sum := sha512.Sum512(append(id[:], msg...))
	return bytes.Equal(sum[:], sig)
}

// A sim is a network of State behaviours in one goroutine, on virtual time,
// from a seed.
type sim struct {
	t     testing.TB
	now   time.Time
	rand  *rand.Rand
	queue timeline
	seq   int
	nodes []*simNode
	conns identity.ConnID

	loss, dup float64
	delay     time.Duration // 0.5 to 1.5 of it; reorders
	sent      int           // messages
	sentBytes int
	kinds     map[conn.Kind]int
	trace     func(m *conn.Message)
}

type simNode struct {
	*State
	sim   *sim
	key   identity.PrivateKey
	agent *agent.Behavior
	skew  time.Duration
	links map[identity.ConnID]*simLink
	order []identity.ConnID
	bytes int // sent
}

type simLink struct {
	info   conn.Info
	peer   *simNode
	remote identity.ConnID
	cut    bool
	room   int // messages it takes; negative: any number
}

type simEvent struct {
	at  time.Time
	seq int
	do  func()
}

type timeline []simEvent

func (q timeline) Len() int      { return len(q) }
func (q timeline) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *timeline) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *timeline) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (q timeline) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}

func newSim(t testing.TB, seed uint64) *sim {
	return &sim{t: t, now: epoch, rand: rand.New(rand.NewPCG(seed, 7)), delay: 20 * time.Millisecond, kinds: make(map[conn.Kind]int)}
}

// add starts another node.
func (s *sim) add(cfg Config) *simNode {
	n := &simNode{sim: s, key: testKey(len(s.nodes)), links: make(map[identity.ConnID]*simLink)}
	cfg.Key = n.key
	n.State = New(cfg)
	n.sign, n.verify = cheapSign, cheapVerify
	s.nodes = append(s.nodes, n)
	n.agent = agent.NewBehavior(agent.Env{
		Self: n.key.ID(), Service: Service, Clock: n, Source: rand.NewPCG(uint64(len(s.nodes)), s.rand.Uint64()),
		Log: slog.New(slog.DiscardHandler), Context: context.Background(), Backend: n,
	})
	if err := behavior.Check(n.State); err != nil {
		s.t.Fatal(err)
	}
	if err := n.OnStart(n.agent); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// Now, Send, Do, Ready, Conns and Stats make a simNode the clock and backend of
// its agent.
func (n *simNode) Now() time.Time { return n.sim.now.Add(n.skew) }

func (n *simNode) Send(o agent.Outgoing) error {
	l := n.links[o.To.Conn]
	switch {
	case o.To.Rule != router.RuleConn:
		return agent.ErrNoRoute
	case l == nil:
		return agent.ErrNoConn
	case l.room == 0:
		return agent.ErrQueueFull
	}
	l.room--
	s := n.sim
	s.sent++
	s.sentBytes += len(o.Payload)
	n.bytes += len(o.Payload)
	s.kinds[o.Kind]++
	copies := 1
	if s.rand.Float64() < s.dup {
		copies = 2
	}
	m := &conn.Message{Service: Service, Kind: o.Kind, FromService: Service, From: n.key.ID(), Conn: l.remote, Hops: 1, Payload: bytes.Clone(o.Payload)}
	for range copies {
		if l.cut || s.rand.Float64() < s.loss {
			continue
		}
		s.after(time.Duration((0.5+s.rand.Float64())*float64(s.delay)), func() {
			if back := l.peer.links[l.remote]; back != nil && !l.cut {
				if s.trace != nil {
					s.trace(m)
				}
				l.peer.OnMessage(l.peer.agent, m)
			}
		})
	}
	return nil
}

func (n *simNode) Do(op agent.Op) error {
	switch op.Code {
	case agent.OpAfter:
		n.sim.after(op.Delay, func() {
			if n.State.agent.Load() != nil {
				n.OnEvent(n.agent, conn.Info{}, op.Event)
			}
		})
		return nil
	default:
		return fmt.Errorf("op %d is not simulated", op.Code)
	}
}

func (n *simNode) Ready(router.Route) <-chan struct{}       { return nil }
func (n *simNode) Stats(identity.ConnID) (conn.Stats, bool) { return conn.Stats{}, false }
func (n *simNode) stats() Stats                             { return n.State.Stats() }
func (n *simNode) set(key, value string) error {
	return n.Set(context.Background(), key, []byte(value))
}
func (n *simNode) del(key string) error  { return n.Delete(context.Background(), key) }
func (n *simNode) get(key string) string { v, _ := n.Get(key); return string(v) }

func (n *simNode) Conns() (all []conn.Info) {
	for _, id := range n.order {
		if l := n.links[id]; l != nil {
			all = append(all, l.info)
		}
	}
	return all
}

// give hands n a message as if p had sent it.
func (n *simNode) give(p *simNode, kind conn.Kind, payload []byte) {
	for _, id := range n.order {
		if l := n.links[id]; l != nil && l.peer == p {
			n.OnMessage(n.agent, &conn.Message{Service: Service, Kind: kind, From: p.key.ID(), Conn: id, Hops: 1, Payload: payload})
			return
		}
	}
	n.sim.t.Fatal("no connection")
}

func (s *sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.queue, simEvent{s.now.Add(d), s.seq, do})
}

// run lets time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.queue) > 0 && !s.queue[0].at.After(end) {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		e.do()
	}
	s.now = end
}

// connect makes a connection that a dials.
func (s *sim) connect(a, b *simNode) (onA identity.ConnID) {
	s.conns += 2
	ia := conn.Info{ID: s.conns - 1, Node: b.key.ID(), Direction: conn.Outgoing, Opened: s.now}
	ib := conn.Info{ID: s.conns, Node: a.key.ID(), Direction: conn.Incoming, Opened: s.now}
	a.links[ia.ID] = &simLink{info: ia, peer: b, remote: ib.ID, room: -1}
	b.links[ib.ID] = &simLink{info: ib, peer: a, remote: ia.ID, room: -1}
	a.order, b.order = append(a.order, ia.ID), append(b.order, ib.ID)
	b.OnConnect(b.agent, ib)
	a.OnConnect(a.agent, ia)
	return ia.ID
}

// disconnect ends a connection of a.
func (s *sim) disconnect(a *simNode, id identity.ConnID) {
	l := a.links[id]
	back := l.peer.links[l.remote]
	delete(a.links, id)
	delete(l.peer.links, l.remote)
	a.OnDisconnect(a.agent, l.info, conn.ErrClosed)
	l.peer.OnDisconnect(l.peer.agent, back.info, conn.ErrClosed)
}

// mesh connects every node with some random others, so that all hang together.
func (s *sim) mesh(degree int) {
	for i, n := range s.nodes {
		if i > 0 {
			s.connect(n, s.nodes[i-1])
		}
		for range degree - 1 {
			if p := s.nodes[s.rand.IntN(len(s.nodes))]; p != n && !n.knows(p) {
				s.connect(n, p)
			}
		}
	}
}

func (n *simNode) knows(p *simNode) bool {
	for _, l := range n.links {
		if l.peer == p {
			return true
		}
	}
	return false
}

// partition cuts every connection between nodes of different groups.
func (s *sim) partition(group func(i int) int) {
	index := make(map[*simNode]int)
	for i, n := range s.nodes {
		index[n] = i
	}
	for i, n := range s.nodes {
		for _, l := range n.links {
			l.cut = group(i) != group(index[l.peer])
		}
	}
}

func (s *sim) heal() { s.partition(func(int) int { return 0 }) }

// equal reports whether all replicas hold the same.
func (s *sim) equal() bool {
	for _, n := range s.nodes[1:] {
		if n.Root() != s.nodes[0].Root() {
			return false
		}
	}
	return true
}

// mustConverge lets time pass until all replicas are equal, at most d, and
// checks that they are, bytewise and in what users see.
func (s *sim) mustConverge(d time.Duration) time.Duration {
	s.t.Helper()
	begin := s.now
	for !s.equal() && s.now.Sub(begin) < d {
		s.run(100 * time.Millisecond)
	}
	first := s.nodes[0]
	for i, n := range s.nodes {
		if n.Root() != first.Root() {
			s.t.Fatalf("replicas 0 and %d differ %v after quiet: %+v, %+v", i, d, first.stats(), n.stats())
		}
		if !bytes.Equal(n.snapshot(), first.snapshot()) {
			s.t.Fatalf("replicas 0 and %d have one root and differ", i)
		}
		if a, b := fmt.Sprint(view(n.State)), fmt.Sprint(view(first.State)); a != b {
			s.t.Fatalf("replicas 0 and %d show different values: %s, %s", i, a, b)
		}
		n.checkBooks()
	}
	return s.now.Sub(begin)
}

// view is what a user sees.
func view(s *State) (all []string) {
	for key, value := range s.Range("") {
		all = append(all, fmt.Sprintf("%s=%x", key, sha256.Sum256(value)))
	}
	return all
}

// checkBooks checks that the counts and hashes of a store are those of its
// entries.
func (n *simNode) checkBooks() {
	n.sim.t.Helper()
	fresh := newStore(n.cfg)
	count := 0
	for e := range n.store.in(whole) {
		count++
		if n.store.entries[e.key] != e || !e.verify(n.verify, n.cfg.Domain) || e.sum != sha256.Sum256(e.raw) {
			n.sim.t.Fatalf("entry %q is not in order", e.key)
		}
		fresh.put(e, n.Now())
	}
	if count != len(n.store.entries) || fresh.live != n.store.live || fresh.dead != n.store.dead || fresh.bytes != n.store.bytes || fresh.rootSum() != n.Root() {
		n.sim.t.Fatalf("books of the store are wrong: %d live, %d dead, %d bytes, want %d, %d, %d", n.store.live, n.store.dead, n.store.bytes, fresh.live, fresh.dead, fresh.bytes)
	}
}
