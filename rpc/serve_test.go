package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// TestLostAnswerer: a function that never returns its answer is answered for.
func TestLostAnswerer(t *testing.T) {
	w := newWorld(t)
	to := router.ToNode(w.bob.id).At(70)
	for name, o := range map[string]rpc.Options{"goroutine": {}, "inline": {Inline: true}, "turn": {OnTurn: true}} {
		w.server[w.bob].HandleRaw("panic "+name, o, func(context.Context, []byte) ([]byte, error) { panic("a secret") })
		_, err := w.client[w.alice].CallRaw(t.Context(), to, "panic "+name, nil)
		want(t, err, rpc.Remote)
		if !strings.Contains(err.Error(), "panicked") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error is %q, want it to tell of a panic and not of its value", name, err)
		}
	}
	w.server[w.bob].HandleRaw("exit", rpc.Options{}, func(context.Context, []byte) ([]byte, error) { runtime.Goexit(); return nil, nil })
	_, err := w.client[w.alice].CallRaw(t.Context(), to, "exit", nil)
	want(t, err, rpc.Remote)
	if _, err := sum.Call(t.Context(), w.client[w.alice], to, sumRequest{}); err != nil {
		t.Errorf("the call after: %v", err)
	}
	if st := w.server[w.bob].Stats(); st.Served != 5 || st.Serving != 0 {
		t.Errorf("server counts %+v, want 5 served", st)
	}
}

func TestCodesCross(t *testing.T) {
	w := newWorld(t)
	to := router.ToNode(w.bob.id).At(70)
	errs := map[string]error{
		"denied":  rpc.Errorf(rpc.Unauthenticated, "only carol"),
		"further": &rpc.Error{Code: rpc.NoService, Method: "next"},
	}
	w.server[w.bob].HandleRaw("fail as", rpc.Options{}, func(_ context.Context, req []byte) ([]byte, error) { return nil, errs[string(req)] })
	for how, code := range map[string]rpc.Code{"denied": rpc.Unauthenticated, "further": rpc.Remote} {
		_, err := w.client[w.alice].CallRaw(t.Context(), to, "fail as", []byte(how))
		want(t, err, code)
	}
}

// A limit is one that forbids a third call of a node.
type limit struct {
	name  string
	set   func(s *rpc.Server) rpc.Options
	other bool // it forbids those of other nodes, too
	text  string
}

func TestLimits(t *testing.T) {
	for _, l := range []limit{
		{"server", func(s *rpc.Server) rpc.Options { s.MaxServing = 2; return rpc.Options{} }, true, "Server.MaxServing"},
		{"peer", func(s *rpc.Server) rpc.Options { s.MaxPerPeer = 2; return rpc.Options{} }, false, "Server.MaxPerPeer"},
		{"method", func(*rpc.Server) rpc.Options { return rpc.Options{MaxCalls: 2} }, true, "Options.MaxCalls"},
		{"method on turn", func(*rpc.Server) rpc.Options { return rpc.Options{MaxCalls: 2, OnTurn: true} }, true, "Options.MaxCalls"},
	} {
		t.Run(l.name, l.test)
	}
}

func (l limit) test(t *testing.T) {
	w := newWorld(t)
	server := &rpc.Server{}
	release := make(chan int, 10)
	server.HandleRaw("wait", l.set(server), func(context.Context, []byte) ([]byte, error) { <-release; return nil, nil })
	w.bob.serve(71, server)
	call := func(n *node) error {
		_, err := w.client[n].CallRaw(t.Context(), router.ToNode(w.bob.id).At(71), "wait", nil)
		return err
	}
	var wait sync.WaitGroup
	serving := 0
	allowed := func(n *node) {
		wait.Go(func() {
			if err := call(n); err != nil {
				t.Errorf("a call within the limit: %v", err)
			}
		})
		for serving++; server.Stats().Serving < serving; {
			runtime.Gosched()
		}
	}
	allowed(w.alice)
	allowed(w.alice)
	err := call(w.alice)
	want(t, err, rpc.Overloaded)
	if !strings.Contains(err.Error(), l.text) {
		t.Errorf("error %q does not name the limit %s", err, l.text)
	}
	if l.other {
		want(t, call(w.carol), rpc.Overloaded)
	} else {
		allowed(w.carol)
	}
	for range serving {
		release <- 1
	}
	wait.Wait()
	release <- 1
	if err := call(w.alice); err != nil {
		t.Errorf("after the calls ended: %v", err)
	}
	if st := server.Stats(); st.Refused == 0 || st.Serving != 0 {
		t.Errorf("server counts %+v", st)
	}
}

// TestRepeatedRequest: the same request again, while it is served, is not served
// again.
func TestRepeatedRequest(t *testing.T) {
	w := newWorld(t)
	n := serveNever(&w.server[w.bob].Server)
	w.intercept = func(at *node, m *conn.Message) bool {
		if at == w.bob && m.Kind == rpc.KindRequest {
			w.server[w.bob].Take(w.bob.service(70).agent, m)
		}
		return true
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-n.started; cancel() }()
	_, err := w.client[w.alice].CallRaw(ctx, router.ToNode(w.bob.id).At(70), "never", nil)
	want(t, err, rpc.Canceled)
	<-n.ended
	w.close()
	if st := w.server[w.bob].Stats(); st.Served != 1 {
		t.Errorf("%d calls served, want 1", st.Served)
	}
}

func TestOnTurn(t *testing.T) {
	w := newWorld(t)
	server := &rpc.Server{}
	count := 0 // the turn guards it
	m := rpc.NewMethod[sumRequest, sumReply]("count")
	m.HandleWith(server, rpc.Options{OnTurn: true}, func(context.Context, sumRequest) (sumReply, error) {
		count++
		return sumReply{count}, nil
	})
	s := w.bob.serve(71, server)
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if _, err := m.Call(t.Context(), w.client[w.alice], router.ToNode(w.bob.id).At(71), sumRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if err := s.do(t.Context(), func() {
		if count != 50 {
			t.Errorf("the function has run %d times, want 50", count)
		}
	}); err != nil {
		t.Error(err)
	}
	// A call that ends while the turn is busy is never run.
	s.mu.Lock()
	s.held = make(chan struct{})
	s.mu.Unlock()
	_, err := m.Within(time.Millisecond).Call(t.Context(), w.client[w.alice], router.ToNode(w.bob.id).At(71), sumRequest{})
	want(t, err, rpc.Timeout)
	for server.Stats().Serving > 0 {
		runtime.Gosched()
	}
	close(s.held)
	_ = s.do(t.Context(), func() {
		if count != 50 {
			t.Errorf("the function has run for a call that had ended")
		}
	})
}

func TestGo(t *testing.T) {
	w := newWorld(t)
	s := w.alice.service(90)
	c := w.client[w.alice]
	total, calls := 0, 0 // the turn guards them
	done := make(chan bool)
	to := router.ToNode(w.bob.id).At(70)
	// From a callback: what Go returns at once is not delivered.
	if err := s.do(t.Context(), func() {
		want(t, sum.Go(c, router.ToService(71), sumRequest{}, func(sumReply, error) { t.Error("done is called") }), rpc.NoService)
		for i := range 100 {
			err := sum.Go(c, to, sumRequest{i, 1}, func(r sumReply, err error) {
				if err != nil {
					t.Error(err)
				}
				total += r.Sum
				if calls++; calls == 100 {
					close(done)
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	<-done
	if want := 99*100/2 + 100; total != want {
		t.Errorf("the sums add up to %d, want %d", total, want)
	}
	errs := make(chan error, 1)
	fail := func(_ sumReply, err error) { errs <- err }
	if err := sum.Go(c, router.ToNode(w.carol.id).At(71), sumRequest{}, fail); err != nil {
		t.Fatal(err)
	}
	want(t, <-errs, rpc.NoService)
	never := rpc.NewMethod[sumRequest, sumReply]("never")
	n := serveNever(&w.server[w.bob].Server)
	if err := never.Within(time.Millisecond).Go(c, to, sumRequest{}, fail); err != nil {
		t.Fatal(err)
	}
	want(t, <-errs, rpc.Timeout)
	<-n.started
	if err := never.Go(c, to, sumRequest{}, fail); err != nil {
		t.Fatal(err)
	}
	<-n.started
	w.cut(w.toBob, conn.ErrClosed)
	want(t, <-errs, rpc.ConnClosed)
	w.connect(w.alice, w.bob)
	if err := never.Go(c, to, sumRequest{}, fail); err != nil {
		t.Fatal(err)
	}
	<-n.started
	s.halt()
	want(t, <-errs, rpc.Stopped)
	want(t, never.Go(c, to, sumRequest{}, fail), rpc.Stopped)
}

// TestSlowCaller: a caller that does not take its answers holds back nothing
// but them.
func TestSlowCaller(t *testing.T) {
	w := newWorld(t)
	toAlice := w.toBob // answers wait at alice's end
	toAlice.mu.Lock()
	toAlice.limit, toAlice.stalled = 100, true
	toAlice.mu.Unlock()
	var wait sync.WaitGroup
	payload := bytes.Repeat([]byte("x"), 60)
	for range 20 {
		wait.Go(func() {
			got, err := w.client[w.alice].CallRaw(t.Context(), router.ToNode(w.bob.id).At(70), "echo inline", payload)
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := sum.Call(t.Context(), w.client[w.carol], router.ToNode(w.bob.id).At(70), sumRequest{}); err != nil {
		t.Errorf("call of another node: %v", err)
	}
	for w.server[w.bob].Stats().Served < 21 {
		runtime.Gosched()
	}
	toAlice.stall(false)
	wait.Wait()
}

func TestFullQueue(t *testing.T) {
	w := newWorld(t)
	toBob := w.toBob.peer
	toBob.mu.Lock()
	toBob.limit, toBob.stalled = 100, true
	toBob.mu.Unlock()
	to := router.ToNode(w.bob.id).At(70)
	err := rpc.NewMethod[[]byte, []byte]("echo").Go(w.client[w.alice], to, make([]byte, 200), func([]byte, error) { t.Error("done is called") })
	want(t, err, rpc.Overloaded)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := w.client[w.alice].CallRaw(t.Context(), to, "echo", make([]byte, 60)); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = w.client[w.alice].CallRaw(ctx, to, "echo", make([]byte, 99))
	want(t, err, rpc.Timeout)
	toBob.stall(false)
	wait.Wait()
}

func TestServedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		contexts := make(chan context.Context, 3)
		var after atomic.Int64
		var derived, cause error
		w.server[w.bob].HandleRaw("keep", rpc.Options{}, func(ctx context.Context, req []byte) ([]byte, error) {
			contexts <- ctx
			stop := context.AfterFunc(ctx, func() { after.Add(100) })
			if !stop() || stop() {
				t.Error("AfterFunc cannot be stopped once")
			}
			context.AfterFunc(ctx, func() { after.Add(1) })
			if len(req) == 0 {
				return nil, nil
			}
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			<-child.Done()
			derived, cause = child.Err(), context.Cause(child)
			return nil, errors.New("too late")
		})
		to := router.ToNode(w.bob.id).At(70)
		if _, err := w.client[w.alice].CallRaw(t.Context(), to, "keep", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx := <-contexts
		select {
		case <-ctx.Done():
		default:
			t.Error("the context lives on after its call")
		}
		if ctx.Err() != context.Canceled || after.Load() != 1 {
			t.Errorf("context has error %v, %d functions after it", ctx.Err(), after.Load())
		}
		context.AfterFunc(ctx, func() { after.Add(10) })
		synctest.Wait()
		if after.Load() != 11 {
			t.Error("AfterFunc of an ended context does not run")
		}
		_, err := w.client[w.alice].CallRaw(t.Context(), to, "keep", []byte("x"))
		want(t, err, rpc.Timeout)
		synctest.Wait()
		if derived != context.DeadlineExceeded || cause != context.DeadlineExceeded || (<-contexts).Err() != context.DeadlineExceeded {
			t.Errorf("the derived context ended with %v because of %v", derived, cause)
		}
	})
}

// TestIdleWorkersEnd: goroutines that wait for calls end by themselves.
func TestIdleWorkersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		before := runtime.NumGoroutine()
		for range 3 {
			if _, err := sum.Call(t.Context(), w.client[w.alice], router.ToNode(w.bob.id).At(70), sumRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines more than before", after-before)
		}
	})
}

func TestErrorsInTheProgramPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"empty name": func() { rpc.NewMethod[int, int]("") },
		"long name":  func() { rpc.NewMethod[int, int](strings.Repeat("n", 65)) },
		"twice": func() {
			var s rpc.Server
			s.HandleRaw("x", rpc.Options{}, echo)
			s.HandleRaw("x", rpc.Options{}, echo)
		},
		"inline on turn": func() { new(rpc.Server).HandleRaw("x", rpc.Options{Inline: true, OnTurn: true}, echo) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
