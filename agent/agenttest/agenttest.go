// Package agenttest tests behaviours without a network: its [Recorder] hands
// out agents that do nothing but write down what they are asked for.
//
//	rec := agenttest.New(agenttest.Config{})
//	alice := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
//
//	h := &Hello{}
//	h.OnConnect(rec.Behavior(), alice)
//	h.OnMessage(rec.Behavior(), rec.Message(alice, 1, payload))
//
//	got := rec.Take() // []string{`send conn:1 kind=1 "hello"`}
//
// A test calls the callbacks itself, in the order that it is interested in, and
// then looks at what was asked for: [Recorder.Take] as text, one line for each
// thing, or [Recorder.TakeCalls] as data.
//
// # Events and time
//
// Nothing happens by itself. Events (from Tell, Post and Notify, and from
// timers that [Recorder.Advance] let fire) wait until the test takes them with
// [Recorder.Events]; or Advance delivers them, each at its time and in order, to
// the OnEvent of whom [Recorder.DeliverTo] and [Recorder.DeliverToHandler] name.
// Do runs its function at once, between the callbacks that Advance and
// [Recorder.Turn] run.
//
// # Answers
//
// Agents answer as a node would where that needs no network: a connection that
// is not open is agent.ErrNoConn, one that may only be read conn.ErrReadOnly, a
// dial of this node agent.ErrSelf. Everything else succeeds, unless
// [Recorder.Fail] says otherwise.
//
// The same Config and the same calls always give the same record: the clock is
// set by hand and the randomness is seeded. Package behaviortest checks any
// behaviour against the rules that hold for all of them.
package agenttest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A Config says what the agents say of their node. The zero Config will do.
type Config struct {
	Self    identity.NodeID    // default: Node("self")
	Service identity.ServiceID // default: 1
	Start   time.Time          // what the clock shows first; default: 2000-01-01 00:00 UTC
	Seed    uint64             // of Rand
	Log     *slog.Logger       // default: nothing is logged
}

// A Recorder stands for a node with one behaviour. Its methods, and its agents,
// may be used from any goroutine.
type Recorder struct {
	config   Config
	source   *lockedSource
	behavior *agent.Behavior
	turn     chan struct{} // holds a token while a callback or the function of a Do runs
	context  context.Context
	stop     context.CancelCauseFunc

	mu        sync.Mutex // guards what follows; never held while calling out
	now       time.Time
	calls     []Call
	events    []Event
	timers    []timer // by time, then by age
	conns     map[identity.ConnID]*connection
	lastConn  identity.ConnID
	refuse    func(Call) error
	ready     chan struct{} // closed when a refused Send is worth another try
	stopped   bool
	receiver  BehaviorReceiver
	receivers map[identity.ConnID]HandlerReceiver
}

// connection is an open connection.
type connection struct {
	info    conn.Info
	stats   conn.Stats
	handler *agent.Handler
	close   context.CancelCauseFunc
}

// New makes a Recorder.
func New(c Config) *Recorder {
	if c.Self.IsZero() {
		c.Self = Node("self")
	}
	if c.Service == 0 {
		c.Service = 1
	}
	if c.Start.IsZero() {
		c.Start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{
		config:    c,
		source:    &lockedSource{source: rand.NewPCG(c.Seed, 0)},
		turn:      make(chan struct{}, 1),
		now:       c.Start,
		conns:     make(map[identity.ConnID]*connection),
		ready:     make(chan struct{}),
		receivers: make(map[identity.ConnID]HandlerReceiver),
	}
	r.context, r.stop = context.WithCancelCause(context.Background())
	r.behavior = agent.NewBehavior(r.env(r.context, c.Log, conn.Info{}))
	return r
}

// env makes what the agent of the handler on a connection, or of the behaviour
// for the zero Info, is made of.
func (r *Recorder) env(ctx context.Context, log *slog.Logger, by conn.Info) agent.Env {
	return agent.Env{
		Self:    r.config.Self,
		Service: r.config.Service,
		Clock:   clock{r},
		Source:  r.source,
		Log:     log,
		Context: ctx,
		Backend: &backend{r, by},
	}
}

// Behavior returns the agent of the behaviour.
func (r *Recorder) Behavior() *agent.Behavior { return r.behavior }

// Handler returns the agent of the handler on an open connection.
func (r *Recorder) Handler(id identity.ConnID) *agent.Handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open(id).handler
}

// open returns an open connection. The caller holds mu. That there is none is
// an error in the test.
func (r *Recorder) open(id identity.ConnID) *connection {
	c := r.conns[id]
	if c == nil {
		panic(fmt.Sprintf("agenttest: connection %s is not open; see Connect", id))
	}
	return c
}

// Connect opens a connection and returns it, as OnConnect takes it. What c leaves
// zero is filled in: the next ID, a node of its own, outgoing, opened now.
func (r *Recorder) Connect(c conn.Info) conn.Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.ID == 0 {
		c.ID = r.lastConn + 1
	}
	if c.ID <= r.lastConn {
		panic(fmt.Sprintf("agenttest: connection ID %s is not above %s: IDs count up and are never reused", c.ID, r.lastConn))
	}
	r.lastConn = c.ID
	if c.Node.IsZero() {
		c.Node = Node("peer" + letters(uint64(c.ID)))
	}
	if c.Direction == 0 {
		c.Direction = conn.Outgoing
	}
	if c.Local.IsZero() {
		c.Local = identity.Address{Scheme: "mem", Host: r.config.Self.Short()}
	}
	if c.Remote.IsZero() {
		c.Remote = identity.Address{Scheme: "mem", Host: c.Node.Short()}
	}
	if c.Opened.IsZero() {
		c.Opened = r.now
	}
	if c.Service.ID == 0 {
		c.Service.ID = r.config.Service
	}
	ctx, cancel := context.WithCancelCause(r.context)
	log := r.config.Log.With("conn", uint64(c.ID))
	r.conns[c.ID] = &connection{info: c, close: cancel, handler: agent.NewHandler(r.env(ctx, log, c), c)}
	return c
}

// Disconnect ends a connection: its timers and events, and the context of its
// handler, with cause. Nothing is called; OnClose and OnDisconnect are the
// test's to call. Until a test does so, connections that were asked to close stay
// open.
func (r *Recorder) Disconnect(id identity.ConnID, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open(id).close(cause)
	delete(r.conns, id)
	delete(r.receivers, id)
	r.timers = slices.DeleteFunc(r.timers, func(t timer) bool { return t.event.To == id })
	r.events = slices.DeleteFunc(r.events, func(e Event) bool { return e.To == id })
}

// SetStats sets the statistics of an open connection. One with ReadOnly set may
// not be written to until it is authorised.
func (r *Recorder) SetStats(id identity.ConnID, s conn.Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open(id).stats = s
}

// Stop ends the contexts of all agents with cause, and all timers. From then on
// everything asked for is answered with agent.ErrStopped.
func (r *Recorder) Stop(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.timers = nil
	r.stop(cause)
	r.wake()
}

// Fail makes everything that agents ask for fail with err, until Fail(nil). Only
// timers can still be stopped.
func (r *Recorder) Fail(err error) {
	if err == nil {
		r.FailFunc(nil)
		return
	}
	r.FailFunc(func(Call) error { return err })
}

// FailFunc makes f decide what fails: it is called with everything that agents
// ask for, before it is done, and what it returns is the answer. nil ends it.
func (r *Recorder) FailFunc(f func(c Call) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = f
	r.wake()
}

// wake lets SendWait try again. The caller holds mu.
func (r *Recorder) wake() {
	close(r.ready)
	r.ready = make(chan struct{})
}

// Message makes a message of the service as it arrives on a connection.
func (r *Recorder) Message(from conn.Info, kind conn.Kind, payload []byte) *conn.Message {
	return &conn.Message{
		Service:     r.config.Service,
		Kind:        kind,
		FromService: r.config.Service,
		From:        from.Node,
		Conn:        from.ID,
		Hops:        1,
		Payload:     payload,
	}
}

// Node returns a node ID whose text begins with name, so that records are good to
// read: Node("alice").Short() is "alice222". No private key belongs to it. name is
// made of the letters a to z and the digits 2 to 7, at most 48 of them.
func Node(name string) identity.NodeID {
	const length = 52
	if name == "" || len(name) > 48 {
		panic(fmt.Sprintf("agenttest: node name %q is empty or longer than 48", name))
	}
	id, err := identity.ParseNodeID(name + strings.Repeat("2", length-1-len(name)) + "a")
	if err != nil {
		panic(fmt.Sprintf("agenttest: node name %q: %v", name, err))
	}
	return id
}

// letters writes n > 0 with the letters a to z: a, b, ..., z, aa, ab, ...
func letters(n uint64) string {
	s := ""
	for ; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}

// lockedSource makes a source of randomness safe for concurrent use.
type lockedSource struct {
	mu     sync.Mutex // guards source
	source rand.Source
}

// Uint64 returns the next number.
func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source.Uint64()
}
