package rpc_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// A sim is an environment in which one loop runs everything, one goroutine at a
// time, on virtual time. What blocks anywhere but in Wait stops it for good.
type sim struct {
	*rand.Rand
	now     time.Time
	ready   []*task
	parked  []*task
	timers  []*simTimer // in the order in which they were set
	watched []*watch
	current *task
	baton   chan struct{} // whoever runs gives it back to the loop
	trace   []string
	nodes   map[identity.NodeID]*simNode
	loss    int // per cent of the messages
}

type task struct {
	resume chan struct{}
	on     [3]<-chan struct{}
	got    int
}

type watch struct {
	ctx context.Context
	f   func()
}

type simTimer struct {
	s  *sim
	at time.Time
	f  func()
}

func newSim(seed uint64) *sim {
	return &sim{Rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), baton: make(chan struct{}), nodes: map[identity.NodeID]*simNode{}}
}

func (s *sim) Now() time.Time      { return s.now }
func (s *sim) Source() rand.Source { return s.Rand }

func (s *sim) AfterFunc(d time.Duration, f func()) env.Timer {
	t := &simTimer{s, s.now.Add(max(d, 0)), f}
	s.timers = append(s.timers, t)
	return t
}

func (t *simTimer) Stop() bool {
	i := slices.Index(t.s.timers, t)
	if i >= 0 {
		t.s.timers = slices.Delete(t.s.timers, i, i+1)
	}
	return i >= 0
}

func (s *sim) Go(f func()) {
	t := &task{resume: make(chan struct{})}
	s.ready = append(s.ready, t)
	go func() {
		<-t.resume
		defer func() { s.baton <- struct{}{} }()
		f()
	}()
}

func (s *sim) OnDone(ctx context.Context, f func()) func() bool {
	w := &watch{ctx, f}
	s.watched = append(s.watched, w)
	return func() bool {
		i := slices.Index(s.watched, w)
		if i >= 0 {
			s.watched = slices.Delete(s.watched, i, i+1)
		}
		return i >= 0
	}
}

func (s *sim) Wait(a, b, c <-chan struct{}) int {
	t := s.current
	t.on = [3]<-chan struct{}{a, b, c}
	s.parked = append(s.parked, t)
	s.baton <- struct{}{}
	<-t.resume
	return t.got
}

// poll reports whether a task that waits can go on.
func (t *task) poll() bool {
	for t.got = range t.on {
		select {
		case <-t.on[t.got]:
			return true
		default:
		}
	}
	return false
}

// run runs everything until nothing is left to do.
func (s *sim) run() {
	for {
		s.watched = slices.DeleteFunc(s.watched, func(w *watch) bool {
			if w.ctx.Err() != nil {
				s.Go(w.f)
			}
			return w.ctx.Err() != nil
		})
		s.parked = slices.DeleteFunc(s.parked, func(t *task) bool {
			goesOn := t.poll()
			if goesOn {
				s.ready = append(s.ready, t)
			}
			return goesOn
		})
		switch {
		case len(s.ready) > 0:
			s.current = s.ready[0]
			s.ready = s.ready[1:]
			s.current.resume <- struct{}{}
			<-s.baton
		case len(s.timers) > 0:
			t := slices.MinFunc(s.timers, func(a, b *simTimer) int { return a.at.Compare(b.at) })
			t.Stop()
			s.now = t.at
			s.Go(t.f)
		default:
			return
		}
	}
}

func (s *sim) sleep(d time.Duration) {
	done := make(chan struct{})
	s.AfterFunc(d, func() { close(done) })
	s.Wait(done, nil, nil)
}

func (s *sim) logf(format string, args ...any) {
	s.trace = append(s.trace, s.now.Format("05.000000 ")+fmt.Sprintf(format, args...))
}

// A simNode is a node with one behaviour, some hops away from all others.
type simNode struct {
	*sim
	id    identity.NodeID
	part  behavior.PartObserver
	agent *agent.Behavior
	end   context.CancelCauseFunc
}

func (s *sim) node(name string, b behavior.Parted) *simNode {
	n := &simNode{sim: s, part: b.Parts()[0].(behavior.PartObserver)}
	copy(n.id[:], name)
	s.nodes[n.id] = n
	ctx, end := context.WithCancelCause(env.With(context.Background(), s))
	n.end = end
	n.agent = agent.NewBehavior(agent.Env{Self: n.id, Service: 70, Clock: s, Source: s.Rand, Log: slog.New(slog.DiscardHandler), Context: ctx, Backend: n})
	s.Go(func() { n.part.PartStart(n.agent) })
	return n
}

func (n *simNode) Send(o agent.Outgoing) error {
	to := n.nodes[o.To.Node()]
	payload := slices.Clone(o.Payload)
	delay := time.Duration(n.IntN(20_000)) * time.Microsecond
	if n.IntN(100) < n.loss {
		if o.Report {
			r := agent.Report{ID: o.ID, Kind: o.Kind, To: 70, From: n.id, Failure: agent.ErrNoRoute}
			n.AfterFunc(delay, func() { n.part.PartReport(n.agent, r) })
		}
		return nil
	}
	n.AfterFunc(delay, func() {
		to.logf("%s gets %x, %d bytes", to.id[:1], o.Kind, len(payload))
		to.part.(behavior.Part).Take(to.agent, &conn.Message{Service: 70, FromService: 70, From: n.id, Kind: o.Kind, Conn: 1, Hops: 3, Payload: payload})
	})
	return nil
}

func (n *simNode) Do(op agent.Op) error {
	done := make(chan struct{})
	n.AfterFunc(0, func() { op.Func(); close(done) })
	if n.Wait(done, op.Context.Done(), nil) == 1 {
		return context.Cause(op.Context)
	}
	return nil
}

func (*simNode) Ready(router.Route) <-chan struct{}       { return nil }
func (*simNode) Conns() []conn.Info                       { return nil }
func (*simNode) Stats(identity.ConnID) (conn.Stats, bool) { return conn.Stats{}, false }
func (n *simNode) stop()                                  { n.part.PartStop(n.agent); n.end(agent.ErrStopped) }
func (n *simNode) panicked()                              { n.end(agent.ErrStopped) }
func (n *simNode) lose(info conn.Info)                    { n.part.PartDisconnect(n.agent, info, conn.ErrClosed) }
func (n *simNode) logEnd(i int, what string, res []byte, e error) {
	n.logf("%s %d: %q %v", what, i, res, e)
}

// nap is served: it waits for a while, or for the end of the call.
func nap(ctx context.Context, req []byte) ([]byte, error) {
	e, done := env.Of(ctx), make(chan struct{})
	if d := time.Duration(req[0]) * time.Millisecond; d > 0 {
		t := e.AfterFunc(d, func() { close(done) })
		defer t.Stop()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if e.Wait(done, ctx.Done(), nil) == 1 {
		e.(*sim).logf("nap of %d ends: %v", req[0], ctx.Err())
		return nil, ctx.Err()
	}
	return req, nil
}

// scenario runs callers and a server that all end in the end, and returns what
// happened.
func scenario(seed uint64, loss int) (trace []string, client, server rpc.Stats) {
	s := newSim(seed)
	s.loss = loss
	c, v := rpc.NewClient(), &rpc.Server{}
	v.HandleRaw("nap", rpc.Options{}, nap)
	v.HandleRaw("echo", rpc.Options{Inline: true}, echo)
	v.HandleRaw("turn", rpc.Options{OnTurn: true}, echo)
	alice, bob := s.node("alice", c), s.node("bob", v)
	to := router.ToNode(bob.id).At(70)
	for i := range 60 {
		s.Go(func() {
			s.sleep(time.Duration(s.IntN(50)) * time.Millisecond)
			method := rpc.NewMethod[[]byte, []byte]([]string{"nap", "echo", "turn", "none"}[i%4])
			if i%3 == 0 {
				method = method.Within(time.Duration(s.IntN(1000)) * time.Millisecond)
			}
			req := []byte{byte(s.Uint32())}
			if i%10 == 0 {
				req[0] = 0 // nap: for ever
			}
			if i%5 == 0 {
				_ = method.Go(c, to, req, func(res []byte, err error) { alice.logEnd(i, "go", res, err) })
				return
			}
			ctx, cancel := context.WithCancel(context.Background())
			s.AfterFunc(time.Duration(s.IntN(1000))*time.Millisecond, cancel)
			res, err := method.Call(ctx, c, to, req)
			alice.logEnd(i, "call", res, err)
		})
	}
	for i := range 60 { // some that end together
		s.Go(func() {
			s.sleep(2 * time.Second)
			if i%2 == 0 {
				_ = rpc.NewMethod[[]byte, []byte]("nap").Go(c, to, []byte{0}, func(res []byte, err error) { alice.logEnd(i, "last go", res, err) })
				return
			}
			res, err := c.CallRaw(context.Background(), to, "nap", []byte{0})
			alice.logEnd(i, "last", res, err)
		})
	}
	s.AfterFunc(3*time.Second, func() {
		switch seed % 3 {
		case 0:
			bob.stop()
		case 1:
			bob.panicked()
		}
	})
	s.AfterFunc(4*time.Second, func() { alice.lose(conn.Info{ID: 7, Node: bob.id}) })
	s.AfterFunc(8*time.Second, func() {
		alice.stop()
		bob.stop()
	})
	s.run()
	return append(s.trace, fmt.Sprintf("%d waiting, at %v", len(s.parked), s.now)), c.Stats(), v.Stats()
}

// TestSimulation: in a simulator rpc blocks nowhere else, ends everything, and
// does the same each time.
func TestSimulation(t *testing.T) {
	for seed := range uint64(6) {
		first, client, server := scenario(seed, 20)
		if last := first[len(first)-1]; !strings.HasPrefix(last, "0 waiting") || len(first) < 300 {
			t.Errorf("seed %d: %s after %d events, want all to have ended", seed, last, len(first))
		}
		if client.Pending != 0 || server.Serving != 0 || server.Resent == 0 {
			t.Errorf("seed %d: client counts %+v, server %+v", seed, client, server)
		}
		if !slices.ContainsFunc(first, func(e string) bool { return strings.HasSuffix(e, "ends: context deadline exceeded") }) {
			t.Errorf("seed %d: no function's context has ended at its deadline", seed)
		}
		for range 3 {
			again, c, v := scenario(seed, 20)
			if i := slices.IndexFunc(first, func(e string) bool { return len(again) == 0 || !pop(&again, e) }); i >= 0 {
				t.Fatalf("seed %d: event %d is %q once, and then another", seed, i, first[i])
			}
			if c != client || v != server {
				t.Errorf("seed %d: counts %+v and %+v, and then %+v and %+v", seed, client, server, c, v)
			}
		}
	}
}

// pop takes the first event off a trace, and reports whether it is e.
func pop(trace *[]string, e string) bool {
	first := (*trace)[0]
	*trace = (*trace)[1:]
	return first == e
}
