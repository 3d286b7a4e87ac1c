package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/codec"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// never serves a method that ends with its context only, and tells of both.
type never struct {
	started chan context.Context
	ended   chan error
}

func serveNever(s *rpc.Server) *never {
	n := &never{make(chan context.Context, 300), make(chan error, 300)}
	s.HandleRaw("never", rpc.Options{}, func(ctx context.Context, _ []byte) ([]byte, error) {
		n.started <- ctx
		<-ctx.Done()
		n.ended <- ctx.Err()
		return []byte("too late"), nil
	})
	return n
}

// sniff records the answers that arrive anywhere.
func (w *world) sniff() *[]*conn.Message {
	var mu sync.Mutex
	var all []*conn.Message
	w.intercept = func(_ *node, m *conn.Message) bool {
		if m.Kind == rpc.KindAnswer {
			mu.Lock()
			defer mu.Unlock()
			c := *m
			c.Payload = append([]byte(nil), m.Payload...)
			all = append(all, &c)
		}
		return true
	}
	return &all
}

func TestFailuresAtOnce(t *testing.T) {
	w := newWorld(t)
	w.maxSize = 10_000
	w.server[w.bob].HandleRaw("large", rpc.Options{}, func(context.Context, []byte) ([]byte, error) { return make([]byte, 10_000), nil })
	nowhere := router.ToNode(identity.NodeID{1}).At(70)
	bob, c := router.ToNode(w.bob.id).At(70), w.client[w.alice]
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	wrong := rpc.NewMethod[string, sumReply]("sum")
	badReply := rpc.NewMethod[[]byte, sumReply]("echo")
	for _, tt := range []struct {
		name string
		call func() error
		code rpc.Code
		node identity.NodeID
	}{
		{"no route", func() error { _, err := sum.Call(t.Context(), c, nowhere, sumRequest{}); return err }, rpc.NoRoute, identity.NodeID{}},
		{"no route at all", func() error { _, err := sum.Call(t.Context(), c, router.Route{}, sumRequest{}); return err }, rpc.NoRoute, identity.NodeID{}},
		{"no provider", func() error { _, err := sum.Call(t.Context(), c, router.ToService(71), sumRequest{}); return err }, rpc.NoService, identity.NodeID{}},
		{"no service at node", func() error {
			_, err := sum.Call(t.Context(), c, router.ToNode(w.carol.id).At(71), sumRequest{})
			return err
		}, rpc.NoService, w.carol.id},
		{"no service here", func() error {
			_, err := sum.Call(t.Context(), c, router.ToNode(w.alice.id).At(71), sumRequest{})
			return err
		}, rpc.NoService, identity.NodeID{}},
		{"no method", func() error { _, err := c.CallRaw(t.Context(), bob, "difference", nil); return err }, rpc.NoMethod, w.bob.id},
		{"name at cap", func() error { _, err := c.CallRaw(t.Context(), bob, strings.Repeat("n", 64), nil); return err }, rpc.NoMethod, w.bob.id},
		{"name above cap", func() error { _, err := c.CallRaw(t.Context(), bob, strings.Repeat("n", 65), nil); return err }, rpc.NoMethod, identity.NodeID{}},
		{"request too large", func() error { _, err := c.CallRaw(t.Context(), bob, "echo", make([]byte, 10_000)); return err }, rpc.TooLarge, identity.NodeID{}},
		{"request beyond codec", func() error { _, err := wrong.Call(t.Context(), c, bob, strings.Repeat("x", 2<<20)); return err }, rpc.TooLarge, identity.NodeID{}},
		{"answer too large", func() error { _, err := c.CallRaw(t.Context(), bob, "large", nil); return err }, rpc.TooLarge, w.bob.id},
		{"request not decoded", func() error { _, err := wrong.Call(t.Context(), c, bob, "no struct"); return err }, rpc.Decode, w.bob.id},
		{"answer not decoded", func() error { _, err := badReply.Call(t.Context(), c, bob, []byte("no struct")); return err }, rpc.Decode, identity.NodeID{}},
		{"canceled before", func() error { _, err := sum.Call(canceled, c, bob, sumRequest{}); return err }, rpc.Canceled, identity.NodeID{}},
		{"too late before", func() error { _, err := sum.Call(late, c, bob, sumRequest{}); return err }, rpc.Timeout, identity.NodeID{}},
		{"not started", func() error { _, err := sum.Call(t.Context(), rpc.NewClient(), bob, sumRequest{}); return err }, rpc.Stopped, identity.NodeID{}},
	} {
		err := tt.call()
		want(t, err, tt.code)
		if e := (*rpc.Error)(nil); errors.As(err, &e) && (e.Node != tt.node || e.Method == "") {
			t.Errorf("%s: error is %+v, want node %s", tt.name, e, tt.node.Short())
		}
	}
	if st := c.Stats(); st.Pending != 0 {
		t.Errorf("%d calls are still pending", st.Pending)
	}
	if st := w.server[w.bob].Stats(); st.Unknown != 2 {
		t.Errorf("%d calls of unknown methods are counted, want 2", st.Unknown)
	}
}

func TestUsing(t *testing.T) {
	w := newWorld(t)
	m := rpc.NewMethod[sumRequest, sumReply]("json").Using(codec.JSON(codec.Limits{}))
	m.Handle(&w.server[w.bob].Server, add)
	to := router.ToNode(w.bob.id).At(70)
	if got, err := m.Call(t.Context(), w.client[w.alice], to, sumRequest{2, 3}); err != nil || got.Sum != 5 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := w.client[w.alice].CallRaw(t.Context(), to, m.Name(), []byte(`{"A":1,"B":2}`)); err != nil || string(got) != `{"Sum":3}` {
		t.Errorf("got %s, %v; want JSON", got, err)
	}
}

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		within   time.Duration
		deadline time.Duration
		want     time.Duration
	}{
		{"default", 0, 0, 10 * time.Second},
		{"context", 0, time.Minute, time.Minute},
		{"method", time.Second, 0, time.Second},
		{"method first", time.Second, time.Minute, time.Second},
		{"context first", time.Minute, time.Second, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				n := serveNever(&w.server[w.bob].Server)
				answers := w.sniff()
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				m := rpc.NewMethod[[]byte, []byte]("never")
				if tt.within > 0 {
					m = m.Within(tt.within)
				}
				start := time.Now()
				_, err := m.Call(ctx, w.client[w.alice], router.ToNode(w.bob.id).At(70), nil)
				want(t, err, rpc.Timeout)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v does not wrap context.DeadlineExceeded", err)
				}
				if d := time.Since(start); d != tt.want {
					t.Errorf("timed out after %v, want %v", d, tt.want)
				}
				if d, ok := (<-n.started).Deadline(); !ok || d.Sub(start) != tt.want {
					t.Errorf("the served function has %v, want %v", d.Sub(start), tt.want)
				}
				if err := <-n.ended; err != context.DeadlineExceeded {
					t.Errorf("the served function's context ended with %v", err)
				}
				synctest.Wait()
				if len(*answers) != 0 {
					t.Errorf("%d answers to a call that timed out", len(*answers))
				}
			})
		})
	}
}

// TestExpiryAsTheAnswerComes: the time-out of a call that has been answered at
// the last moment does not end another.
func TestExpiryAsTheAnswerComes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		to := router.ToNode(w.bob.id).At(70)
		const last = 1500 * time.Microsecond // bob has 2 ms: time travels in milliseconds
		w.server[w.bob].HandleRaw("just", rpc.Options{}, func(_ context.Context, req []byte) ([]byte, error) { time.Sleep(last); return req, nil })
		just := rpc.NewMethod[[]byte, []byte]("just").Within(last)
		answered, expired := 0, 0
		for range 2000 {
			if _, err := just.Call(t.Context(), w.client[w.alice], to, nil); err == nil {
				answered++
			} else if want(t, err, rpc.Timeout); err != nil {
				expired++
			}
			if _, err := sum.Call(t.Context(), w.client[w.alice], to, sumRequest{}); err != nil {
				t.Fatalf("the call after one at its deadline: %v", err)
			}
		}
		t.Logf("%d answered, %d expired", answered, expired)
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		n := serveNever(&w.server[w.bob].Server)
		answers := w.sniff()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		go func() { <-n.started; cancel(why) }()
		_, err := w.client[w.alice].CallRaw(ctx, router.ToNode(w.bob.id).At(70), "never", nil)
		want(t, err, rpc.Canceled)
		if !errors.Is(err, why) {
			t.Errorf("error %v does not wrap the cause", err)
		}
		if err := <-n.ended; err != context.Canceled {
			t.Errorf("the served function's context ended with %v", err)
		}
		synctest.Wait()
		if len(*answers) != 0 {
			t.Errorf("%d answers to a call that was cancelled", len(*answers))
		}
		if st := w.server[w.bob].Stats(); st.Serving != 0 || st.Served != 1 {
			t.Errorf("server counts %+v", st)
		}
	})
}

// TestForgedLateAndRepeatedAnswers: only the first answer from the node asked
// counts.
func TestForgedLateAndRepeatedAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   func(w *world) router.Route
		// forge changes a true answer to one that must not count.
		forge func(w *world, m *conn.Message)
	}{
		{"another node", func(w *world) router.Route { return router.ToNode(w.bob.id).At(70) }, func(w *world, m *conn.Message) { m.From = w.carol.id }},
		{"another service", func(w *world) router.Route { return router.ToService(70).At(70) }, func(w *world, m *conn.Message) { m.FromService = 71 }},
		{"another connection", func(w *world) router.Route { return router.ToConn(w.toBob.id).At(70) }, func(w *world, m *conn.Message) { m.Conn += 100 }},
		{"relayed over the connection", func(w *world) router.Route { return router.ToConn(w.toBob.id).At(70) }, func(w *world, m *conn.Message) { m.Hops = 2 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			delete(w.alice.services, 70)
			c := w.client[w.alice]
			a := w.alice.service(90).agent
			w.intercept = func(at *node, m *conn.Message) bool {
				if at == w.alice && m.Kind == rpc.KindAnswer {
					forged := *m
					forged.Payload = append(rpc.AppendAnswer(nil, id(m), 0), "forged"...)
					tt.forge(w, &forged)
					c.Take(a, &forged)
					unknown := *m
					unknown.Payload = append(rpc.AppendAnswer(nil, id(m)+1, 0), "unknown"...)
					c.Take(a, &unknown)
					c.Take(a, m)
					c.Take(a, m) // and once more, when intercept returns
				}
				return true
			}
			got, err := c.CallRaw(t.Context(), tt.to(w), "echo", []byte("true"))
			if err != nil || string(got) != "true" {
				t.Errorf("got %q, %v; want the true answer", got, err)
			}
			w.close()
			if st := c.Stats(); st.Forged != 1 || st.Late != 3 {
				t.Errorf("client counts %d forged and %d late answers, want 1 and 3", st.Forged, st.Late)
			}
		})
	}
}

func id(m *conn.Message) uint64 {
	id, _, _, _ := rpc.ParseID(m.Payload)
	return id
}

func TestMalformedMessages(t *testing.T) {
	w := newWorld(t)
	s := w.server[w.bob]
	a := w.bob.service(70).agent
	answers := make(chan []byte, 10)
	w.intercept = func(_ *node, m *conn.Message) bool {
		answers <- append([]byte(nil), m.Payload...)
		return true
	}
	for i, m := range []conn.Message{
		{Kind: rpc.KindRequest},
		{Kind: rpc.KindRequest, Payload: append(rpc.AppendRequest(nil, 1, time.Second, ""), "x"...)}, // answered
		{Kind: rpc.KindAnswer, Payload: rpc.AppendCancel(nil, 1)},
		{Kind: rpc.KindCancel, Payload: []byte{9}},
		{Kind: rpc.KindCancel, Payload: rpc.AppendCancel(nil, 1)}, // of no call: not malformed
	} {
		m.From, m.FromService, m.Conn, m.Hops = w.alice.id, 90, w.toBob.peer.id, 1
		if !s.Take(a, &m) {
			t.Errorf("message %d is not taken", i)
		}
	}
	if answer := <-answers; answer[9] != byte(rpc.Decode) {
		t.Errorf("answer is %x, want code Decode", answer)
	}
	w.close()
	if st := s.Stats(); st.Malformed != 4 {
		t.Errorf("%d messages are counted as malformed, want 4", st.Malformed)
	}
	if len(answers) != 0 {
		t.Errorf("%d more answers, want none", len(answers))
	}
}

// TestConnectionEnds: calls in flight to the node at its other end fail at once,
// and their functions' contexts end; calls of others go on.
func TestConnectionEnds(t *testing.T) {
	w := newWorld(t)
	n := serveNever(&w.server[w.bob].Server)
	far := serveNever(&w.server[w.carol].Server)
	replaced := serveNever(&w.server[w.alice].Server)
	errs := make(chan error, 2)
	call := func(c *rpc.Client, to router.Route) {
		go func() { _, err := c.CallRaw(t.Context(), to, "never", nil); errs <- err }()
	}
	call(w.client[w.alice], router.ToNode(w.bob.id).At(70))
	call(w.client[w.alice], router.ToConn(w.toBob.id).At(70))
	<-n.started
	<-n.started
	call(w.client[w.alice], router.ToNode(w.carol.id).At(70))
	<-far.started
	why := errors.New("cable cut")
	w.cut(w.toBob, why)
	for range 2 {
		err := <-errs
		want(t, err, rpc.ConnClosed)
		if !errors.Is(err, why) {
			t.Errorf("error %v does not wrap the cause", err)
		}
		if err := <-n.ended; err != context.Canceled {
			t.Errorf("the served function's context ended with %v", err)
		}
	}
	if st := w.client[w.alice].Stats(); st.Pending != 1 {
		t.Errorf("%d calls wait, want the one to another node", st.Pending)
	}
	// A connection whose place another takes ends no calls but those to itself.
	if err := w.bob.service(90).do(t.Context(), func() {}); err != nil { // it has heard of the end
		t.Fatal(err)
	}
	x := w.connect(w.bob, w.alice)
	call(w.client[w.bob], router.ToNode(w.alice.id).At(70))
	call(w.client[w.bob], router.ToConn(x.id).At(70))
	<-replaced.started
	<-replaced.started
	w.connect(w.bob, w.alice)
	w.cut(x, &conn.CloseError{Code: conn.CodeReplaced})
	want(t, <-errs, rpc.ConnClosed)
	if st := w.client[w.bob].Stats(); st.Pending != 1 {
		t.Errorf("%d calls wait, want the one to the node", st.Pending)
	}
	if st := w.server[w.alice].Stats(); st.Serving != 2 {
		t.Errorf("%d calls are served, want 2", st.Serving)
	}
	w.bob.service(90).halt()
	want(t, <-errs, rpc.Stopped)
	w.alice.service(90).halt()
	want(t, <-errs, rpc.Stopped)
}

func TestStop(t *testing.T) {
	w := newWorld(t)
	n := serveNever(&w.server[w.bob].Server)
	to := router.ToNode(w.bob.id).At(70)
	errs := make(chan error, 1)
	go func() {
		_, err := w.client[w.alice].CallRaw(t.Context(), to, "never", nil)
		errs <- err
	}()
	ctx := <-n.started
	w.bob.service(70).halt()
	err := <-errs
	want(t, err, rpc.Stopped)
	if e := (*rpc.Error)(nil); !errors.As(err, &e) || e.Node != w.bob.id {
		t.Errorf("error is %v, want it to come from bob", err)
	}
	<-n.ended
	if ctx.Err() != context.Canceled {
		t.Errorf("context has error %v", ctx.Err())
	}
	_, err = sum.Call(t.Context(), w.client[w.alice], to, sumRequest{})
	want(t, err, rpc.NoService)
	w.alice.service(90).halt()
	_, err = sum.Call(t.Context(), w.client[w.alice], to, sumRequest{})
	want(t, err, rpc.Stopped)
	w.alice.serve(90, w.client[w.alice])
	w.bob.serve(70, w.server[w.bob])
	if got, err := sum.Call(t.Context(), w.client[w.alice], to, sumRequest{2, 3}); err != nil || got.Sum != 5 {
		t.Errorf("after both have started again: got %v, %v", got, err)
	}
}

// TestPanickedBehaviour: calls of and to a behaviour that has panicked end,
// though nobody tells its parts so.
func TestPanickedBehaviour(t *testing.T) {
	w := newWorld(t)
	n := serveNever(&w.server[w.bob].Server)
	far := serveNever(&w.server[w.carol].Server)
	errs := make(chan error, 1)
	go func() {
		_, err := w.server[w.bob].CallRaw(t.Context(), router.ToNode(w.carol.id), "never", nil)
		errs <- err
	}()
	<-far.started
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _, _ = w.client[w.alice].CallRaw(ctx, router.ToNode(w.bob.id).At(70), "never", nil) })
	<-n.started
	s := w.bob.service(70)
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.stop(errors.New("panic"))
	want(t, <-errs, rpc.Stopped)
	if err := <-n.ended; err != context.Canceled {
		t.Errorf("the served function's context ended with %v", err)
	}
	cancel()
	wait.Wait()
}

func TestMaxPending(t *testing.T) {
	w := newWorld(t)
	n := serveNever(&w.server[w.bob].Server)
	client := &rpc.Client{MaxPending: 2}
	w.alice.serve(91, client)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	to := router.ToNode(w.bob.id).At(70)
	for range 2 {
		wait.Go(func() { _, err := client.CallRaw(ctx, to, "never", nil); want(t, err, rpc.Canceled) })
		<-n.started
	}
	_, err := sum.Call(t.Context(), client, to, sumRequest{})
	want(t, err, rpc.Overloaded)
	if !strings.Contains(fmt.Sprint(err), "Client.MaxPending") {
		t.Errorf("error %q does not name the limit", err)
	}
	cancel()
	wait.Wait()
	if _, err := sum.Call(t.Context(), client, to, sumRequest{}); err != nil {
		t.Errorf("after the calls ended: %v", err)
	}
}
