package rpc_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// inBubble runs a test with a world of its own on virtual time.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		f(t, w)
	})
}

// handle has carol serve a method whose function does something to the network
// before it returns.
func (w *world) handle(f func()) {
	w.server[w.carol].HandleRaw("break", rpc.Options{}, func(_ context.Context, req []byte) ([]byte, error) { f(); return req, nil })
}

// call has alice call the method, two hops away.
func (w *world) call(within time.Duration) error {
	m := rpc.NewMethod[[]byte, []byte]("break").Within(within)
	res, err := m.Call(context.Background(), w.client[w.alice], router.ToNode(w.carol.id).At(70), []byte("hello"))
	if err == nil && string(res) != "hello" {
		return errors.New("answer is " + string(res))
	}
	return err
}

// check compares what carol has kept, resent and lost.
func (w *world) check(t *testing.T, when string, kept, resent, lost int) {
	t.Helper()
	synctest.Wait()
	n, bytes := rpc.Kept(&w.server[w.carol].Client)
	st := w.server[w.carol].Stats()
	if n != kept || (n == 0) != (bytes == 0) || int(st.Resent) != resent || int(st.Lost) != lost {
		t.Errorf("%s: %d answers of %d bytes are kept, %d resent, %d lost; want %d, %d, %d", when, n, bytes, st.Resent, st.Lost, kept, resent, lost)
	}
}

// TestLostAnswers: an answer that finds no way, at first, is sent again until it
// does.
func TestLostAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		// lose makes the answer get lost, until the function that it returns
		// has run.
		lose func(w *world) (mend func())
		code rpc.Code // of the answer
	}{
		{"no route on the way", func(w *world) func() {
			w.cut(w.toBob, conn.ErrClosed)
			return func() { w.connect(w.alice, w.bob) }
		}, 0},
		{"queue full on the way", func(w *world) func() {
			capacity(w.toBob, 1)
			return func() { capacity(w.toBob, 0) }
		}, 0},
		{"no route from here", func(w *world) func() {
			w.cut(w.carol.list()[0], conn.ErrClosed)
			return func() { w.connect(w.carol, w.bob) }
		}, 0},
		{"failure", func(w *world) func() {
			w.server[w.carol].MaxPerPeer = 1
			w.cut(w.carol.list()[0], conn.ErrClosed)
			return func() { w.connect(w.carol, w.bob) }
		}, rpc.Overloaded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				lose := func() { time.AfterFunc(150*time.Millisecond, tt.lose(w)) }
				w.handle(lose)
				if tt.code != 0 { // then it is another call of alice's that is served
					n := serveNever(&w.server[w.carol].Server)
					go func() { _, _ = w.client[w.alice].CallRaw(t.Context(), router.ToNode(w.carol.id).At(70), "never", nil) }()
					<-n.started
					w.intercept = func(at *node, m *conn.Message) bool {
						if at == w.carol && m.Kind == rpc.KindRequest {
							lose()
						}
						return true
					}
				}
				start := time.Now()
				err := w.call(10 * time.Second)
				if tt.code != 0 {
					want(t, err, tt.code)
				} else if err != nil {
					t.Error(err)
				}
				if d := time.Since(start); d != 300*time.Millisecond {
					t.Errorf("the call took %v, want 300ms: the second time that the answer is sent again", d)
				}
				w.check(t, "after the call", 1, 2, 0)
				time.Sleep(2 * time.Second)
				w.check(t, "two seconds later", 0, 2, 0)
				if st := w.client[w.alice].Stats(); st.Late != 0 {
					t.Errorf("%d answers came late, want none", st.Late)
				}
			})
		})
	}
}

// capacity makes an end of a connection take so many bytes at a time; 0: any number.
func capacity(e *end, bytes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limit = bytes
}

// TestLostForGood: an answer that finds no way until the deadline is given up.
func TestLostForGood(t *testing.T) {
	for name, tt := range map[string]struct {
		lose   func(w *world)
		within time.Duration
		resent int
	}{
		"reported": {func(w *world) { w.cut(w.toBob, conn.ErrClosed) }, time.Second, 3},
		"not sent": {func(w *world) { w.cut(w.carol.list()[0], conn.ErrClosed) }, time.Second, 3},
		"too late": {func(w *world) { w.cut(w.toBob, conn.ErrClosed) }, 50 * time.Millisecond, 0},
		"never":    {func(w *world) { w.cut(w.toBob, conn.ErrClosed) }, 1000 * time.Hour, 62},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.handle(func() { tt.lose(w) })
				start := time.Now()
				want(t, w.call(tt.within), rpc.Timeout)
				if d := time.Since(start); d != tt.within {
					t.Errorf("the call ended after %v, want %v", d, tt.within)
				}
				w.check(t, "at the deadline", 0, tt.resent, 1)
				time.Sleep(time.Hour)
				w.check(t, "an hour later", 0, tt.resent, 1)
			})
		})
	}
}

// TestKeptAnswers: a copy is kept of answers that go by route, until there can
// hardly be a report.
func TestKeptAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handle(func() {})
		for range 3 {
			if err := w.call(10 * time.Second); err != nil {
				t.Error(err)
			}
		}
		w.check(t, "after three calls", 3, 0, 0)
		if err := w.call(500 * time.Millisecond); err != nil {
			t.Error(err)
		}
		time.Sleep(499 * time.Millisecond)
		w.check(t, "before the deadline of the fourth", 4, 0, 0)
		time.Sleep(1 * time.Millisecond)
		w.check(t, "at the deadline of the fourth", 3, 0, 0)
		time.Sleep(1500 * time.Millisecond)
		w.check(t, "after two seconds", 0, 0, 0)
		for _, to := range []*rpc.Client{w.client[w.bob], w.client[w.carol], &w.server[w.carol].Client} {
			if _, err := to.CallRaw(t.Context(), router.ToNode(w.carol.id).At(70), "break", nil); err != nil {
				t.Error(err)
			}
		}
		w.check(t, "after calls of a neighbour and of the node itself", 0, 0, 0)
	})
}

// TestForgedReports: reports that are not true cost an answer, at worst, that is
// sent some more times.
func TestForgedReports(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var last uint64
		w.handle(func() {})
		w.intercept = func(_ *node, m *conn.Message) bool { last = id(m); return true }
		report := func(r agent.Report) {
			w.server[w.carol].PartReport(w.carol.service(70).agent, r)
		}
		if err := w.call(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		truth := agent.Report{ID: last, Kind: rpc.KindAnswer, To: 90, Failure: agent.ErrNoRoute}
		for _, forge := range []func(r *agent.Report){
			func(r *agent.Report) { r.ID++ },
			func(r *agent.Report) { r.Kind = rpc.KindRequest },
			func(r *agent.Report) { r.To = 91 },
		} {
			r := truth
			forge(&r)
			report(r)
		}
		time.Sleep(time.Second)
		w.check(t, "after reports of other messages", 1, 0, 0)
		for range 10_000 {
			report(truth)
			time.Sleep(time.Millisecond)
		}
		w.check(t, "after ten seconds of reports", 0, 11, 1)
		if st := w.client[w.alice].Stats(); st.Late != 11 || st.Forged != 0 {
			t.Errorf("%d late and %d forged answers at the caller, want 11 and 0", st.Late, st.Forged)
		}
		if err := w.call(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		truth.ID, truth.Failure = last, agent.ErrNoService
		report(truth)
		w.check(t, "after a report that nobody waits for the answer", 0, 11, 2)
	})
}

// from has carol get a request from a node that there is no way to.
func (w *world) from(a *agent.Behavior, stranger byte, n int, method string) {
	m := conn.Message{Service: 70, Kind: rpc.KindRequest, FromService: 90, From: identity.NodeID{stranger}, Conn: 1, Hops: 3}
	m.Payload = rpc.AppendRequest(nil, uint64(n), time.Hour, method)
	w.server[w.carol].Take(a, &m)
}

// TestKeptAnswersAreBounded: more answers than may be kept are sent once.
func TestKeptAnswersAreBounded(t *testing.T) {
	const size = 64<<10 - 10 // with its header as much as goes into the bound some times
	for name, tt := range map[string]struct{ most, bytes int }{
		"none": {rpc.MaxAnswers, 0},
		"size": {rpc.MaxAnswerBytes / (size + 10), size},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.server[w.carol].HandleRaw("size", rpc.Options{Inline: true}, func(context.Context, []byte) ([]byte, error) { return make([]byte, tt.bytes), nil })
				a := w.carol.service(70).agent
				for i := range tt.most + 50 {
					w.from(a, 1, i, name)
				}
				w.check(t, "at once", tt.most, 0, 50)
				if _, bytes := rpc.Kept(&w.server[w.carol].Client); bytes > rpc.MaxAnswerBytes {
					t.Errorf("%d bytes are kept, want at most %d", bytes, rpc.MaxAnswerBytes)
				}
				w.handle(func() {})
				if err := w.call(time.Second); err != nil {
					t.Errorf("an answer of which no copy is kept: %v", err)
				}
				time.Sleep(100 * time.Millisecond)
				w.check(t, "after a moment", tt.most, tt.most, 50)
				time.Sleep(time.Minute)
				w.check(t, "after a minute", 0, 62*tt.most, tt.most+50)
				w.from(a, 1, 0, name)
				w.check(t, "again", 1, 62*tt.most, tt.most+50)
				w.from(a, 2, 0, name) // its report could not be told from that of the other
				w.check(t, "with an ID that is in use", 1, 62*tt.most, tt.most+51)
			})
		})
	}
}

// TestStopDropsKeptAnswers: a server that has stopped keeps and sends nothing,
// and can start again.
func TestStopDropsKeptAnswers(t *testing.T) {
	for name, stop := range map[string]func(s *service){
		"stop":  func(s *service) { s.halt() },
		"panic": func(s *service) { s.stop(errors.New("panic")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.handle(func() {})
				if err := w.call(10 * time.Second); err != nil {
					t.Fatal(err)
				}
				a, n := w.carol.service(70).agent, serveNever(&w.server[w.carol].Server)
				w.from(a, 1, 0, "never") // its answer at the stop finds no way
				<-n.started
				for i := range 5 {
					w.from(a, 2, i, "none")
				}
				w.check(t, "before", 6, 0, 0)
				stop(w.carol.service(70))
				w.check(t, "after", 0, 0, 6)
				w.from(a, 3, 0, "none")
				time.Sleep(time.Hour)
				w.check(t, "an hour later", 0, 0, 7)
				a = w.carol.serve(70, w.server[w.carol]).agent
				w.from(a, 3, 0, "none")
				w.check(t, "after another start", 1, 0, 7)
			})
		})
	}
}
