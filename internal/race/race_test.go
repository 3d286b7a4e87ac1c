package race

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Instances of what tests dial: an attempt takes so long and then succeeds or
// fails. Zero takes for ever.
type way struct {
	takes time.Duration
	err   error
	deaf  time.Duration // how long it goes on after it was cancelled; it then succeeds
}

var errDown = errors.New("down")

// A track is the addresses of a test, and what happened on them.
type track struct {
	env       env.Env
	ways      map[string]way
	began     time.Time
	mu        sync.Mutex // guards what follows
	started   []string   // "address time"
	lost      []string   // "address error"
	discarded []string
	causes    map[string]error // of the contexts that ended under way
}

func newTrack(e env.Env, ways map[string]way) *track {
	return &track{env: e, ways: ways, began: e.Now(), causes: map[string]error{}}
}

func (k *track) dial(ctx context.Context, addr string) (string, error) {
	k.mu.Lock()
	k.started = append(k.started, fmt.Sprint(addr, " ", k.took()))
	k.mu.Unlock()
	w := k.ways[addr]
	due := make(chan struct{})
	if w.takes > 0 {
		timer := k.env.AfterFunc(w.takes, func() { close(due) })
		defer timer.Stop()
	} else if w.err != nil {
		return "", w.err
	}
	if k.env.Wait(due, ctx.Done(), nil) == 1 {
		k.mu.Lock()
		k.causes[addr] = context.Cause(ctx)
		k.mu.Unlock()
		if w.deaf == 0 {
			return "", ctx.Err()
		}
		late := make(chan struct{})
		k.env.AfterFunc(w.deaf, func() { close(late) })
		k.env.Wait(late, nil, nil)
	}
	if w.err != nil {
		return "", w.err
	}
	return "conn to " + addr, nil
}

func (k *track) run(ctx context.Context, cfg Config, addrs ...string) (string, int, error) {
	cfg.Lost = func(i int, err error) { k.lost = append(k.lost, fmt.Sprint(addrs[i], " ", err)) }
	return Dial(ctx, k.env, cfg, addrs, k.dial, func(c string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.discarded = append(k.discarded, c)
	})
}

func (k *track) took() time.Duration { return k.env.Now().Sub(k.began) }

// each runs a test in the real environment on false time, and in the simulator.
func each(t *testing.T, test func(t *testing.T, e env.Env)) {
	t.Run("real", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, env.Real{}) })
	})
	t.Run("simulated", func(t *testing.T) {
		w := sim.New(1, time.Hour, func(*sim.Host, *sim.Host) *sim.Path { return nil })
		defer w.Close()
		h := w.NewHost()
		returned := make(chan struct{})
		h.Go(func() {
			defer close(returned)
			test(t, h)
		})
		h.Wait(returned, nil, nil)
	})
}

const ms = time.Millisecond

func TestDial(t *testing.T) {
	slower := ErrSlower.Error()
	for _, tt := range []struct {
		name    string
		ways    map[string]way
		cfg     Config
		limit   time.Duration // of ctx; 0: none
		addrs   string
		won     int // -1: nobody
		took    time.Duration
		started string
		lost    string
	}{
		{name: "one", ways: map[string]way{"a": {takes: 40 * ms}}, addrs: "a", took: 40 * ms, started: "a 0s"},
		{name: "the first within its head start", ways: map[string]way{"a": {takes: 249 * ms}, "b": {takes: ms}}, addrs: "a b",
			took: 249 * ms, started: "a 0s"},
		{name: "the first is silent", ways: map[string]way{"b": {takes: 10 * ms}}, addrs: "a b c", won: 1,
			took: 260 * ms, started: "a 0s,b 250ms", lost: "a " + slower},
		{name: "the first is slow, and the second slower", ways: map[string]way{"a": {takes: 300 * ms}, "b": {takes: 100 * ms}}, addrs: "a b",
			took: 300 * ms, started: "a 0s,b 250ms"},
		{name: "failures hand over at once", ways: map[string]way{"a": {takes: 30 * ms, err: errDown}, "b": {err: errDown}, "c": {takes: 5 * ms}}, addrs: "a b c d", won: 2,
			took: 35 * ms, started: "a 0s,b 30ms,c 30ms", lost: "a down,b down"},
		{name: "the head start counts from the last start", ways: map[string]way{"a": {takes: 100 * ms, err: errDown}, "c": {takes: 50 * ms}}, addrs: "a b c", won: 2,
			took: 400 * ms, started: "a 0s,b 100ms,c 350ms", lost: "a down,b " + slower},
		{name: "a failure among the silent starts one more", ways: map[string]way{"b": {takes: 20 * ms, err: errDown}, "c": {takes: 20 * ms}}, addrs: "a b c", won: 2,
			took: 290 * ms, started: "a 0s,b 250ms,c 270ms", lost: "b down,a " + slower},
		{name: "all fail", ways: map[string]way{"a": {takes: 600 * ms, err: errDown}, "b": {takes: 10 * ms, err: errDown}}, addrs: "a b", won: -1,
			took: 600 * ms, started: "a 0s,b 250ms", lost: "b down,a down"},
		{name: "in turn", cfg: Config{Stagger: -1}, ways: map[string]way{"a": {takes: 5 * time.Second, err: errDown}, "b": {takes: 1 * ms}}, addrs: "a b", won: 1,
			took: 5001 * ms, started: "a 0s,b 5s", lost: "a down"},
		{name: "another stagger", cfg: Config{Stagger: 20 * ms}, ways: map[string]way{"c": {takes: 1 * ms}}, addrs: "a b c", won: 2,
			took: 41 * ms, started: "a 0s,b 20ms,c 40ms", lost: "a " + slower + ",b " + slower},
		{name: "at most two", cfg: Config{MaxAtOnce: 2}, ways: map[string]way{"a": {takes: 501 * ms}, "d": {takes: 1 * ms}}, addrs: "a b c d", won: 3,
			took: 751 * ms, started: "a 0s,b 250ms,c 500ms,d 750ms", lost: "a " + slower + ",b " + slower + ",c " + slower},
		{name: "the last have as long as there is", cfg: Config{MaxAtOnce: 2}, ways: map[string]way{"b": {takes: time.Minute}}, addrs: "a b c", won: 1,
			took: 60250 * ms, started: "a 0s,b 250ms,c 500ms", lost: "a " + slower},
		{name: "the deadline", limit: 300 * ms, addrs: "a b c", won: -1,
			took: 300 * ms, started: "a 0s,b 250ms", lost: "a context deadline exceeded,b context deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, e env.Env) {
				k, ctx := newTrack(e, tt.ways), context.Background()
				if tt.limit > 0 {
					limited, cancel := env.WithTimeout(e, ctx, tt.limit)
					defer cancel()
					ctx = limited
				}
				addrs := strings.Fields(tt.addrs)
				c, won, err := k.run(ctx, tt.cfg, addrs...)
				if won != tt.won || won >= 0 && (err != nil || c != "conn to "+addrs[won]) || won < 0 && err == nil {
					t.Errorf("Dial = %q, %d, %v; want %d to win", c, won, err, tt.won)
				}
				if k.took() != tt.took {
					t.Errorf("it took %v, want %v", k.took(), tt.took)
				}
				if got := strings.Join(k.started, ","); got != tt.started {
					t.Errorf("started %q, want %q", got, tt.started)
				}
				if got := strings.Join(k.lost, ","); got != tt.lost {
					t.Errorf("lost %q, want %q", got, tt.lost)
				}
				if len(k.discarded) > 0 {
					t.Errorf("discarded %q, want nothing", k.discarded)
				}
			})
		})
	}
}

// Whoever loses is cancelled with a cause, and waited for; what it makes in
// spite of that is discarded, once.
func TestLosersComeHome(t *testing.T) {
	each(t, func(t *testing.T, e env.Env) {
		k := newTrack(e, map[string]way{"a": {deaf: 70 * ms}, "b": {takes: 10 * ms}})
		c, won, err := k.run(context.Background(), Config{}, "a", "b")
		if c != "conn to b" || won != 1 || err != nil {
			t.Errorf("Dial = %q, %d, %v; want b", c, won, err)
		}
		if k.took() != 330*ms || !slices.Equal(k.discarded, []string{"conn to a"}) {
			t.Errorf("Dial returned after %v, when %q were discarded; want 330ms, when a has come home", k.took(), k.discarded)
		}
		if !errors.Is(k.causes["a"], ErrSlower) {
			t.Errorf("the context of the slower ended with %v, want ErrSlower", k.causes["a"])
		}
	})
}

// With a Go of its own, the caller has the winner at once and counts the rest.
func TestLosersAreCounted(t *testing.T) {
	each(t, func(t *testing.T, e env.Env) {
		k := newTrack(e, map[string]way{"a": {deaf: 70 * ms}, "b": {takes: 10 * ms}})
		home, atWork := make(chan struct{}, 2), 0
		cfg := Config{Go: func(f func()) {
			atWork++
			e.Go(func() {
				f()
				home <- struct{}{}
			})
		}}
		if _, won, err := k.run(context.Background(), cfg, "a", "b"); won != 1 || err != nil || k.took() != 260*ms {
			t.Errorf("Dial = %d, %v after %v; want b after 260ms", won, err, k.took())
		}
		for range atWork {
			e.Wait(home, nil, nil)
		}
		if k.took() != 330*ms || atWork != 2 || !slices.Equal(k.discarded, []string{"conn to a"}) {
			t.Errorf("%d came home after %v, and %q were discarded; want 2 after 330ms, and a", atWork, k.took(), k.discarded)
		}
	})
}

// The end of ctx ends the race, blames nobody, and is what the error says of
// those under way, beside what others failed with.
func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, e env.Env) {
		bye := errors.New("bye")
		ctx, cancel := context.WithCancelCause(context.Background())
		e.AfterFunc(400*ms, func() { cancel(bye) })
		k := newTrack(e, map[string]way{"a": {takes: 10 * ms, err: errDown}, "c": {deaf: 50 * ms}})
		_, won, err := k.run(ctx, Config{}, "a", "b", "c", "d")
		if won != -1 || !errors.Is(err, bye) || !errors.Is(err, errDown) {
			t.Errorf("Dial = %d, %v; want what it was cancelled with, and that a is down", won, err)
		}
		if want := "a: down\nb: bye\nc: bye"; err.Error() != want {
			t.Errorf("the error is %q, want %q", err, want)
		}
		if k.took() != 450*ms || !slices.Equal(k.lost, []string{"a down"}) || !slices.Equal(k.discarded, []string{"conn to c"}) {
			t.Errorf("after %v lost %q, discarded %q; want 450ms, a alone, and what c made too late", k.took(), k.lost, k.discarded)
		}
		before := len(k.started)
		if _, won, err := k.run(ctx, Config{}, "a"); won != -1 || !errors.Is(err, bye) || len(k.started) != before {
			t.Errorf("Dial with a context that has ended = %d, %v; want its cause, and no attempt", won, err)
		}
	})
}

func TestNoAddress(t *testing.T) {
	if _, i, err := newTrack(env.Real{}, nil).run(t.Context(), Config{}); i != -1 || !errors.Is(err, errNone) {
		t.Errorf("Dial of nothing = %d, %v; want an error that says so", i, err)
	}
}

// A dial that panics, or ends its goroutine, has failed: the next one goes on.
func TestBadDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost []error
		dial := func(_ context.Context, addr string) (int, error) {
			switch addr {
			case "panics":
				panic("oh")
			case "exits":
				runtime.Goexit()
			}
			return 7, nil
		}
		cfg := Config{Lost: func(_ int, err error) { lost = append(lost, err) }}
		c, i, err := Dial(t.Context(), env.Real{}, cfg, []string{"panics", "exits", "works"}, dial, func(int) {})
		if c != 7 || i != 2 || err != nil {
			t.Errorf("Dial = %d, %d, %v; want the third", c, i, err)
		}
		if len(lost) != 2 || !strings.Contains(lost[0].Error(), "oh") || !strings.Contains(lost[0].Error(), "race_test.go") || !errors.Is(lost[1], errEnded) {
			t.Errorf("lost %v; want the panic with its stack, and errEnded", lost)
		}
	})
}

// Many races at once, with winners and deadlines at the same instants, lose no
// connection: each is returned or discarded.
func TestNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type tally struct{ made, returned, discarded map[int]bool }
		for seed := range 200 {
			n := tally{map[int]bool{}, map[int]bool{}, map[int]bool{}}
			made := make(chan int, 8)
			gone := make(chan int, 8)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+seed%5)*10*ms)
			c, i, err := Dial(ctx, env.Real{}, Config{Stagger: 10 * ms, MaxAtOnce: 1 + seed%3}, []int{1, 2, 3, 4},
				func(ctx context.Context, a int) (int, error) {
					time.Sleep(time.Duration((seed/5*7+a*3)%4) * 10 * ms)
					made <- a
					return a, nil
				}, func(a int) { gone <- a })
			cancel()
			close(made)
			close(gone)
			for a := range made {
				n.made[a] = true
			}
			for a := range gone {
				n.discarded[a] = true
			}
			if err == nil {
				n.returned[c] = true
				if n.discarded[c] || c != i+1 {
					t.Errorf("seed %d: connection %d of address %d was returned, and discarded: %t", seed, c, i, n.discarded[c])
				}
			}
			maps.Copy(n.discarded, n.returned)
			if !maps.Equal(n.made, n.discarded) {
				t.Errorf("seed %d: made %v, returned or discarded %v", seed, n.made, n.discarded)
			}
		}
	})
}

// Two that succeed before Dial has looked: the first wins, the second is
// discarded.
func TestTwoSucceedAtOnce(t *testing.T) {
	var discarded []int
	r := &running[int]{discard: func(c int) { discarded = append(discarded, c) }, winner: -1, changed: make(chan struct{}, 1),
		attempts: []*attempt{{}, {}}, atWork: 2}
	r.ended(1, 8, nil, false)
	r.ended(0, 7, nil, false)
	if r.winner != 1 || r.won != 8 || !slices.Equal(discarded, []int{7}) || r.atWork != 0 {
		t.Errorf("%d has won with %d, %v were discarded, %d at work; want 1 with 8, and 7", r.winner, r.won, discarded, r.atWork)
	}
}

// A keeper is the real environment, and counts timers that are pending.
type keeper struct {
	env.Real
	pending *atomic.Int32
}

func (k keeper) AfterFunc(d time.Duration, f func()) env.Timer {
	k.pending.Add(1)
	return kept{k.Real.AfterFunc(d, func() { k.pending.Add(-1); f() }), k.pending}
}

type kept struct {
	env.Timer
	pending *atomic.Int32
}

func (k kept) Stop() bool {
	stopped := k.Timer.Stop()
	if stopped {
		k.pending.Add(-1)
	}
	return stopped
}

func TestNoTimerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := keeper{pending: new(atomic.Int32)}
		k := newTrack(e, map[string]way{"a": {err: errDown}, "b": {takes: 300 * ms, err: errDown}, "c": {takes: 150 * ms}})
		if _, won, err := k.run(t.Context(), Config{}, "a", "b", "c", "d"); won != 2 || err != nil {
			t.Errorf("Dial = %d, %v; want c", won, err)
		}
		if n := e.pending.Load(); n != 0 {
			t.Errorf("%d timers are pending after the race", n)
		}
	})
}
