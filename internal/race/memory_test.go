package race

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// A stand is the real environment with a clock that tests set.
type stand struct {
	env.Real
	now time.Time
}

func (s *stand) Now() time.Time { return s.now }

func newStand() *stand { return &stand{now: time.Unix(1e9, 0)} }

// scheme prefers addresses by their first letter: q, then t.
func scheme(a string) int { return strings.Index("qt", a[:1]) }

func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name, past, addrs string
		rank              func(string) int
		want              string
	}{
		{"nothing is known", "", "t1 q1 q2", nil, "t1 q1 q2"},
		{"ranks go first", "", "t1 q1 q2", scheme, "q1 q2 t1"},
		{"what worked goes first in its rank", "+t2", "q1 t1 t2", scheme, "q1 t2 t1"},
		{"what worked last goes before what worked", "+t3 1s +t2", "t1 t2 t3", scheme, "t2 t3 t1"},
		{"places are preferences without ranks", "+t2", "q1 t1 t2", nil, "q1 t1 t2"},
		{"what lost goes last", "-q1 +t1", "q1 t1 t2", nil, "t1 t2 q1"},
		{"it moves back", "-q1 +t1 30s", "q1 t1 t2", nil, "q1 t1 t2"},
		{"it waits twice as long after two losses", "-q1 30s -q1 59s", "q1 t1", nil, "t1 q1"},
		{"and then moves back", "-q1 30s -q1 60s", "q1 t1", nil, "q1 t1"},
		{"at most half an hour", strings.Repeat("-q1 1h ", 20) + "-q1 29m59s", "q1 t1", nil, "t1 q1"},
		{"and no longer", strings.Repeat("-q1 1h ", 20) + "-q1 30m", "q1 t1", nil, "q1 t1"},
		{"losses of long ago are forgotten", "-q1 1s -q1 61m -q1 30s", "q1 t1", nil, "q1 t1"},
		{"success forgives", "-q1 -q1 -q1 +q1 -q1 30s", "q1 t1", nil, "q1 t1"},
		{"fewer losses go first", "-q1 -q1 -t1", "q1 t1", nil, "t1 q1"},
		{"equal losses: the preference", "-q1 -t1", "q1 t1", nil, "q1 t1"},
		{"many losses are equal", strings.Repeat("-q1 ", 40) + strings.Repeat("-t1 ", 17), "q1 t1", nil, "q1 t1"},
		{"other addresses say nothing", "-q9 +t9", "q1 t1", nil, "q1 t1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := newStand()
			m := NewMemory[int, string](clock, MemoryConfig{})
			for _, step := range strings.Fields(tt.past) {
				if addr, ok := strings.CutPrefix(step, "+"); ok {
					m.Worked(1, addr)
				} else if addr, ok := strings.CutPrefix(step, "-"); ok {
					m.Failed(1, addr)
				} else if d, err := time.ParseDuration(step); err != nil {
					t.Fatal(err)
				} else {
					clock.now = clock.now.Add(d)
				}
			}
			addrs := strings.Fields(tt.addrs)
			if got := strings.Join(m.Order(1, addrs, tt.rank), " "); got != tt.want {
				t.Errorf("Order = %s, want %s", got, tt.want)
			}
			if strings.Join(addrs, " ") != tt.addrs {
				t.Errorf("Order has changed what it was given to %q", addrs)
			}
			if got := strings.Join(m.Order(2, addrs, nil), " "); got != tt.addrs {
				t.Errorf("Order of another peer = %s, want %s", got, tt.addrs)
			}
			m.Forget(1)
			if got := strings.Join(m.Order(1, addrs, nil), " "); got != tt.addrs {
				t.Errorf("Order of a forgotten peer = %s, want %s", got, tt.addrs)
			}
		})
	}
}

func TestHeldUntil(t *testing.T) {
	clock := newStand()
	m := NewMemory[int, string](clock, MemoryConfig{Hold: time.Minute, MaxHold: 3 * time.Minute})
	if got := m.HeldUntil(1, "a"); !got.IsZero() {
		t.Errorf("an unknown address is held until %v", got)
	}
	for i, want := range []time.Duration{1, 2, 3, 3} {
		m.Failed(1, "a")
		if got := m.HeldUntil(1, "a").Sub(clock.now); got != want*time.Minute {
			t.Errorf("after %d losses it is held for %v, want %v", i+1, got, want*time.Minute)
		}
	}
	m.Worked(1, "a")
	if got := m.HeldUntil(1, "a"); !got.IsZero() {
		t.Errorf("an address that works is held until %v", got)
	}
	large := NewMemory[int, string](clock, MemoryConfig{Hold: 1 << 60, MaxHold: 1 << 62})
	for range maxLosses {
		large.Failed(1, "a")
	}
	if got := large.HeldUntil(1, "a").Sub(clock.now); got != 1<<62 {
		t.Errorf("it is held for %v, want the limit of %v", got, time.Duration(1<<62))
	}
}

// Peers and addresses that were used last are remembered, no more.
func TestMemoryIsBounded(t *testing.T) {
	clock := newStand()
	m := NewMemory[int, int](clock, MemoryConfig{Peers: 10})
	for peer := range 10 {
		m.Failed(peer, 1)
	}
	m.Order(0, []int{1, 2}, nil) // is used
	m.Failed(10, 1)
	if n := len(m.peers); n != 10 || m.used.Len() != 10 {
		t.Errorf("%d peers are remembered, %d in the list; want 10", n, m.used.Len())
	}
	for peer, held := range map[int]bool{0: true, 1: false, 2: true, 10: true} {
		if got := !m.HeldUntil(peer, 1).IsZero(); got != held {
			t.Errorf("peer %d is remembered: %t, want %t", peer, got, held)
		}
	}
	for addr := range maxAddresses {
		m.Failed(20, addr)
	}
	m.Failed(20, 0)
	m.Failed(20, 100)
	if n := len(m.find(20).addresses); n != maxAddresses {
		t.Errorf("%d addresses are remembered, want %d", n, maxAddresses)
	}
	for addr, held := range map[int]bool{0: true, 1: false, 2: true, 100: true} {
		if got := !m.HeldUntil(20, addr).IsZero(); got != held {
			t.Errorf("address %d is remembered: %t, want %t", addr, got, held)
		}
	}
}

// The whole: UDP is blocked, TCP takes over at once, and UDP is back when it
// is let through and its time has come.
func TestFailsOverAndMovesBack(t *testing.T) {
	each(t, func(t *testing.T, e env.Env) {
		ways := map[string]way{"tcp": {takes: 10 * ms}}
		m := NewMemory[int, string](e, MemoryConfig{})
		connect := func() (string, time.Duration) {
			k := newTrack(e, ways)
			order := m.Order(1, []string{"quic", "tcp"}, nil)
			_, i, err := Dial(context.Background(), e, Config{Lost: func(i int, _ error) { m.Failed(1, order[i]) }}, order, k.dial, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			m.Worked(1, order[i])
			return order[i], k.took()
		}
		pass := func(d time.Duration) {
			due := make(chan struct{})
			e.AfterFunc(d, func() { close(due) })
			e.Wait(due, nil, nil)
		}
		expect := func(when, addr string, took time.Duration) {
			t.Helper()
			if a, d := connect(); a != addr || d != took {
				t.Errorf("%s: %s after %v, want %s after %v", when, a, d, addr, took)
			}
		}
		expect("UDP is blocked", "tcp", 260*ms)
		expect("it is known to be", "tcp", 10*ms)
		pass(defaultHold)
		expect("it is tried again", "tcp", 260*ms)
		ways["quic"] = way{takes: 5 * ms}
		pass(defaultHold)
		expect("it is still held back", "tcp", 10*ms)
		pass(defaultHold)
		expect("UDP is let through", "quic", 5*ms)
	})
}

// A memory may be used from many goroutines.
func TestMemoryOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory[int, int](env.Real{}, MemoryConfig{Peers: 3})
		for g := range 8 {
			go func() {
				for i := range 500 {
					m.Worked((i+g)%5, i%7)
					m.Failed(i%5, i%3)
					m.Order(i%5, []int{1, 2, 3}, nil)
					m.Forget((i * g) % 5)
				}
			}()
		}
		synctest.Wait()
		if len(m.peers) > 3 || len(m.peers) != m.used.Len() {
			t.Errorf("%d peers in the map, %d in the list; want at most 3, and as many", len(m.peers), m.used.Len())
		}
	})
}
