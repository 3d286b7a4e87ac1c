package rpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// calc serves and calls, and has messages of its own.
type calc struct {
	rpc.Server
	heard chan string
}

func (c *calc) OnMessage(_ *agent.Behavior, m *conn.Message) { c.heard <- string(m.Payload) }

func newCalc() *calc {
	c := &calc{heard: make(chan string, 10)}
	sum.Handle(&c.Server, add)
	c.HandleRaw("echo", rpc.Options{}, echo)
	c.HandleRaw("echo inline", rpc.Options{Inline: true}, echo)
	c.HandleRaw("echo turn", rpc.Options{OnTurn: true}, echo)
	c.HandleRaw("fail", rpc.Options{}, func(context.Context, []byte) ([]byte, error) { return nil, errors.New("fake_error") })
	return c
}

// A world is three nodes in a row, alice - bob - carol. Each serves calls as
// service 70, and has a client as 90.
type world struct {
	*fabric
	alice, bob, carol *node
	server            map[*node]*calc
	client            map[*node]*rpc.Client
	toBob             *end
}

func newWorld(t testing.TB) *world {
	f := newFabric(t)
	w := &world{fabric: f, alice: f.node("alice"), bob: f.node("bob"), carol: f.node("carol"), server: map[*node]*calc{}, client: map[*node]*rpc.Client{}}
	for _, n := range []*node{w.alice, w.bob, w.carol} {
		w.server[n], w.client[n] = newCalc(), rpc.NewClient()
		n.serve(70, w.server[n])
		n.serve(90, w.client[n])
	}
	w.toBob = f.connect(w.alice, w.bob)
	f.connect(w.bob, w.carol)
	w.alice.via[w.carol.id] = w.bob.id
	w.carol.via[w.alice.id] = w.bob.id
	w.alice.toKey = w.carol.id
	w.bob.toKey = w.carol.id
	w.carol.toKey = w.carol.id
	return w
}

// want fails the test unless err has a code.
func want(t *testing.T, err error, code rpc.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("got error %v, want code %v", err, code)
	}
	if e := (*rpc.Error)(nil); err != nil && !errors.As(err, &e) {
		t.Errorf("error %v is no *rpc.Error", err)
	}
}

func TestCallOverEveryRoute(t *testing.T) {
	w := newWorld(t)
	w.alice.provider = w.carol.id
	for _, tt := range []struct {
		name string
		to   router.Route
	}{
		{"this node", router.ToNode(w.alice.id).At(70)},
		{"neighbour", router.ToNode(w.bob.id).At(70)},
		{"connection", router.ToConn(w.toBob.id).At(70)},
		{"two hops", router.ToNode(w.carol.id).At(70)},
		{"key", router.ToKey(identity.KeyOf(nil)).At(70)},
		{"service, here", router.ToService(70)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, c := range map[string]*rpc.Client{"client": w.client[w.alice], "behaviour": &w.server[w.alice].Client} {
				got, err := sum.Call(t.Context(), c, tt.to, sumRequest{2, 3})
				if err != nil || got.Sum != 5 {
					t.Errorf("%s: sum is %v, %v; want 5", name, got.Sum, err)
				}
				payload := bytes.Repeat([]byte("x"), 5000)
				for _, method := range []string{"echo", "echo inline", "echo turn"} {
					back, err := c.CallRaw(t.Context(), tt.to, method, payload)
					if err != nil || !bytes.Equal(back, payload) {
						t.Errorf("%s: %s returns %d bytes, %v; want the 5000 that were sent", name, method, len(back), err)
					}
				}
				_, err = c.CallRaw(t.Context(), tt.to, "fail", nil)
				want(t, err, rpc.Remote)
				if !strings.HasSuffix(err.Error(), ": fake_error") {
					t.Errorf("%s: error is %q, want the text of the served function's", name, err)
				}
			}
		})
	}
}

func TestServiceElsewhereAndOwnService(t *testing.T) {
	f := newFabric(t)
	alice, bob := f.node("alice"), f.node("bob")
	client := rpc.NewClient()
	alice.serve(90, client)
	server := newCalc()
	bob.serve(70, server)
	f.connect(alice, bob)
	if got, err := sum.Call(t.Context(), client, router.ToService(70), sumRequest{1, 1}); err != nil || got.Sum != 2 {
		t.Errorf("service elsewhere: got %v, %v", got, err)
	}
	mine := newCalc()
	alice.serve(70, mine)
	if got, err := sum.Call(t.Context(), &mine.Client, router.ToNode(bob.id), sumRequest{1, 1}); err != nil || got.Sum != 2 {
		t.Errorf("route without a service: got %v, %v; want the caller's own service to be called", got, err)
	}
	if st := server.Stats(); st.Served != 2 || st.Serving != 0 {
		t.Errorf("server counts %+v, want 2 served", st)
	}
	if st := client.Stats(); st.Calls != 1 || st.Pending != 0 {
		t.Errorf("client counts %+v, want 1 call", st)
	}
}

func TestCallerFrom(t *testing.T) {
	w := newWorld(t)
	got := make(chan rpc.Caller, 1)
	w.server[w.bob].HandleRaw("who", rpc.Options{}, func(ctx context.Context, _ []byte) ([]byte, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		c, ok := rpc.CallerFrom(ctx)
		if !ok {
			t.Error("no caller")
		}
		got <- c
		return nil, nil
	})
	if _, err := w.client[w.alice].CallRaw(t.Context(), router.ToNode(w.bob.id).At(70), "who", nil); err != nil {
		t.Fatal(err)
	}
	if c, want := <-got, (rpc.Caller{Node: w.alice.id, Service: 90, Conn: w.toBob.peer.id, Method: "who"}); c != want {
		t.Errorf("caller is %+v, want %+v", c, want)
	}
	if _, ok := rpc.CallerFrom(t.Context()); ok {
		t.Error("a caller where there is none")
	}
}

// TestManyCalls: each answer belongs to its request, over 100,000 calls within
// one time-out over one connection (RP-13).
func TestManyCalls(t *testing.T) {
	w := newWorld(t)
	const calls, outstanding = 120_000, 256
	var next, wrong atomic.Int64
	done := make(chan error, outstanding)
	to := router.ToNode(w.bob.id).At(70)
	for i := range outstanding {
		method := "echo inline"
		if i%8 == 0 {
			method = "echo"
		}
		go func() {
			var req [24]byte
			for {
				n := next.Add(1)
				if n > calls {
					done <- nil
					return
				}
				binary.BigEndian.PutUint64(req[n%3*8:], uint64(n))
				got, err := w.client[w.alice].CallRaw(context.Background(), to, method, req[:8+n%3*8])
				if err != nil {
					done <- fmt.Errorf("call %d: %w", n, err)
					return
				}
				if !bytes.Equal(got, req[:8+n%3*8]) {
					wrong.Add(1)
				}
			}
		}()
	}
	for range outstanding {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d of %d calls got the answer of another", n, calls)
	}
	if st := w.client[w.alice].Stats(); st.Calls != calls || st.Pending != 0 || st.Late != 0 || st.Forged != 0 {
		t.Errorf("client counts %+v", st)
	}
}

// TestManyPending: more calls than a 16-bit ID could tell apart wait at the
// same time, and are answered in another order.
func TestManyPending(t *testing.T) {
	w := newWorld(t)
	const calls = 70_000
	echo8 := rpc.NewMethod[[]byte, []byte]("echo inline").Within(time.Minute)
	w.toBob.peer.stall(true)
	done := make(chan error, calls)
	for i := range uint64(calls) {
		req := binary.BigEndian.AppendUint64(nil, i)
		err := echo8.Go(w.client[w.alice], router.ToNode(w.bob.id).At(70), req, func(res []byte, err error) {
			if err == nil && binary.BigEndian.Uint64(res) != i {
				err = fmt.Errorf("call %d got the answer of %d", i, binary.BigEndian.Uint64(res))
			}
			done <- err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if st := w.client[w.alice].Stats(); st.Pending != calls {
		t.Errorf("%d calls wait, want %d", st.Pending, calls)
	}
	w.toBob.peer.stall(false)
	for range calls {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestOwnMessagesAndBareClient(t *testing.T) {
	w := newWorld(t)
	a := w.alice.service(70).agent
	if err := a.Send(router.ToNode(w.bob.id), 1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := <-w.server[w.bob].heard; got != "hello" {
		t.Errorf("the behaviour hears %q, want hello", got)
	}
	if err := a.Send(router.ToNode(w.bob.id).At(90), 1, []byte("hello")); err != nil {
		t.Fatal(err) // ignored
	}
	_, err := sum.Call(t.Context(), w.client[w.alice], router.ToNode(w.bob.id).At(90), sumRequest{})
	want(t, err, rpc.NoMethod)
	both := &struct {
		rpc.Server
		behavior.Mux
	}{}
	heard := make(chan string, 1)
	behavior.On(&both.Mux, behavior.Message[string](1), func(_ *agent.Behavior, _ *conn.Message, s string) { heard <- s })
	sum.Handle(&both.Server, add)
	w.bob.serve(71, both)
	if err := a.Send(router.ToNode(w.bob.id).At(71), 1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "hello" {
		t.Errorf("the Mux beside the Server hears %q, want hello", got)
	}
	if got, err := sum.Call(t.Context(), w.client[w.alice], router.ToNode(w.bob.id).At(71), sumRequest{2, 3}); err != nil || got.Sum != 5 {
		t.Errorf("the Server beside the Mux: %v, %v", got, err)
	}
	var b behavior.Describer = rpc.NewClient()
	if !b.Describe().Private {
		t.Error("NewClient is not private")
	}
	if newCalc().Describe() != (behavior.Info{}) {
		t.Error("a behaviour that embeds a Server is described as more than the defaults")
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := newWorld(t)
	to := router.ToNode(w.bob.id).At(70)
	payload := make([]byte, 64)
	sumInline := rpc.NewMethod[sumRequest, sumReply]("sum inline")
	sumInline.HandleWith(&w.server[w.bob].Server, rpc.Options{Inline: true}, add)
	for _, tt := range []struct {
		name string
		most float64
		call func() error
	}{
		{"raw, inline", 2, func() error {
			_, err := w.client[w.alice].CallRaw(context.Background(), to, "echo inline", payload)
			return err
		}},
		{"raw, goroutine", 2, func() error {
			_, err := w.client[w.alice].CallRaw(context.Background(), to, "echo", payload)
			return err
		}},
		{"typed, inline", 10, func() error {
			_, err := sumInline.Call(context.Background(), w.client[w.alice], to, sumRequest{2, 3})
			return err
		}},
		{"typed, goroutine", 10, func() error {
			_, err := sum.Call(context.Background(), w.client[w.alice], to, sumRequest{2, 3})
			return err
		}},
	} {
		got := testing.AllocsPerRun(500, func() {
			if err := tt.call(); err != nil {
				t.Error(err)
			}
		})
		if got > tt.most+0.2 {
			t.Errorf("%s: %v allocations for both ends, want at most %v", tt.name, got, tt.most)
		}
	}
}
