package hub_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// A tally is a transport that notes when it dials.
type tally struct {
	conn.Transport
	mu    sync.Mutex // guards times
	times []time.Time
}

func (a *tally) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	a.mu.Lock()
	a.times = append(a.times, time.Now())
	a.mu.Unlock()
	return a.Transport.Dial(ctx, local, peer, addr)
}

// waits returns the times between dials since the last call.
func (a *tally) waits() (waits []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 1; i < len(a.times); i++ {
		waits = append(waits, a.times[i].Sub(a.times[i-1]))
	}
	a.times = nil
	return waits
}

// linear waits a second for each failed attempt.
type linear struct{}

func (linear) Next(attempt int) time.Duration { return time.Duration(attempt) * time.Second }

const s = time.Second

func TestBackoffSequence(t *testing.T) {
	for name, tt := range map[string]struct {
		backoff hub.Backoff
		want    []time.Duration
	}{
		"const":       {hub.Const(3 * s), []time.Duration{3 * s, 3 * s, 3 * s, 3 * s}},
		"uniform":     {hub.Uniform{Min: 2 * s, Max: 2 * s}, []time.Duration{2 * s, 2 * s, 2 * s}},
		"exponential": {hub.Exponential{First: s, Max: 9 * s, Jitter: -1}, []time.Duration{s, 2 * s, 4 * s, 8 * s, 9 * s, 9 * s}},
		"by three":    {hub.Exponential{First: s, Max: time.Hour, Factor: 3, Jitter: -1}, []time.Duration{s, 3 * s, 9 * s, 27 * s, 81 * s}},
		"of a user":   {linear{}, []time.Duration{s, 2 * s, 3 * s, 4 * s, 5 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network, keys := mem.NewNetwork(), pair(t)
				dials := &tally{Transport: network.Transport()}
				h := start(t, hub.Config{Key: keys[0], Transports: []conn.Transport{dials}, Backoff: tt.backoff})
				began := time.Now()
				if _, err := h.Add(at(keys[1], address(t, "mem://b"))); err != nil {
					t.Fatal(err)
				}
				round := func(what string) {
					t.Helper()
					var all time.Duration
					for _, d := range tt.want {
						all += d
					}
					time.Sleep(all)
					synctest.Wait()
					if first := dials.times[0]; !first.Equal(began) {
						t.Errorf("%s: dialled first after %v, want at once", what, first.Sub(began))
					}
					if got := dials.waits(); !slices.Equal(got, tt.want) {
						t.Errorf("%s: dialled again after %v, want %v", what, got, tt.want)
					}
				}
				round("at first")
				other := start(t, hub.Config{Key: keys[1], Transports: []conn.Transport{network.Transport()}, Listen: []identity.Address{address(t, "mem://b")}})
				other.Add(at(keys[0]))
				time.Sleep(10 * time.Minute)
				dials.waits()
				began = time.Now()
				stop(other)
				round("after a connection that worked")
				stop(h)
			})
		})
	}
}

// A back-off that is set holds at once, for the wait under way too.
func TestSetBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, keys := mem.NewNetwork(), pair(t)
		dials := &tally{Transport: network.Transport()}
		h := start(t, hub.Config{Key: keys[0], Transports: []conn.Transport{dials}, Backoff: hub.Const(time.Hour)})
		defer stop(h)
		if _, err := h.Add(at(keys[1], address(t, "mem://b"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * s)
		set := func(b hub.Backoff) {
			t.Helper()
			if err := h.SetBackoff(keys[1].ID(), b); err != nil {
				t.Fatal(err)
			}
		}
		set(hub.Const(15 * s))
		time.Sleep(25 * s) // dialled at 0, 15 and 30 s
		synctest.Wait()
		if p, _ := h.Peer(keys[1].ID()); p.Failures != 3 || time.Until(p.Retry) != 10*s {
			t.Errorf("%d failures, again in %v; want 3 and 10s", p.Failures, time.Until(p.Retry))
		}
		set(nil)
		time.Sleep(30 * time.Minute)
		set(hub.Const(5 * s)) // is over already
		time.Sleep(4 * s)
		synctest.Wait()
		if got, want := dials.waits(), []time.Duration{15 * s, 15 * s, 30*time.Minute + 5*s}; !slices.Equal(got, want) {
			t.Errorf("dialled again after %v, want %v", got, want)
		}
	})
}

// What is made by chance stays within its bounds, and is not always the same.
func TestBackoffBounds(t *testing.T) {
	for i, tt := range []struct {
		b        hub.Backoff
		attempt  int
		min, max time.Duration
	}{
		{hub.Uniform{Min: s, Max: 3 * s}, 1, s, 3 * s},
		{hub.Uniform{Max: s}, 1000, 0, s},
		{hub.Uniform{Min: 2 * s}, 1, 2 * s, 2 * s},
		{hub.Exponential{}, 1, 75 * time.Millisecond, 100 * time.Millisecond},
		{hub.Exponential{}, 3, 300 * time.Millisecond, 400 * time.Millisecond},
		{hub.Exponential{}, 1 << 30, 7500 * time.Millisecond, 10 * s},
		{hub.Exponential{First: time.Minute, Jitter: 1}, 1, 0, time.Minute},
		{hub.Exponential{First: time.Minute, Jitter: 7}, 0, 0, time.Minute},
		{hub.Const(-s), 1, -s, -s},
	} {
		seen := map[time.Duration]bool{}
		for range 200 {
			d := tt.b.Next(tt.attempt)
			if d < tt.min || d > tt.max {
				t.Fatalf("%d: %+v.Next(%d) = %v, want %v to %v", i, tt.b, tt.attempt, d, tt.min, tt.max)
			}
			seen[d] = true
		}
		if (len(seen) > 100) != (tt.min < tt.max) {
			t.Errorf("%d: %+v.Next(%d): %d of 200 differ", i, tt.b, tt.attempt, len(seen))
		}
	}
}
