package state

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
)

var seeds = flag.Uint64("seeds", 6, "seeds that TestConvergence runs")

// TestConvergence writes at random on many nodes, over links that lose,
// repeat and reorder, with partitions and skewed clocks: after quiet all
// replicas are equal.
func TestConvergence(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := newSim(t, seed)
			for range 3 + s.rand.IntN(10)*(1+s.rand.IntN(4)) {
				n := s.add(Config{})
				n.skew = time.Duration(s.rand.IntN(20)-10) * time.Second
			}
			s.mesh(3)
			s.loss, s.dup = 0.2, 0.05
			for range 20 {
				group := make([]int, len(s.nodes))
				for i := range group {
					group[i] = s.rand.IntN(1 + s.rand.IntN(3))
				}
				s.partition(func(i int) int { return group[i] })
				for range 15 {
					n, key := s.nodes[s.rand.IntN(len(s.nodes))], fmt.Sprint("key", s.rand.IntN(30))
					var err error
					if s.rand.IntN(3) == 0 {
						err = n.del(key)
					} else {
						err = n.set(key, strings.Repeat("v", s.rand.IntN(300))+fmt.Sprint(s.rand.Uint64()))
					}
					if err != nil {
						t.Fatal(err)
					}
					s.run(time.Duration(s.rand.IntN(200)) * time.Millisecond)
				}
			}
			s.heal()
			took := s.mustConverge(30 * time.Second)
			t.Logf("%d nodes equal %v after the last write", len(s.nodes), took)
		})
	}
}

// TestPushReachesAll: without loss a write is everywhere long before the first
// round of anti-entropy.
func TestPushReachesAll(t *testing.T) {
	s := newSim(t, 1)
	for range 30 {
		s.add(Config{Interval: time.Hour})
	}
	s.mesh(4)
	s.run(time.Second)
	if err := s.nodes[7].set("k", "v"); err != nil {
		t.Fatal(err)
	}
	s.run(300 * time.Millisecond)
	for i, n := range s.nodes {
		if n.get("k") != "v" {
			t.Errorf("node %d does not have the write after 300 ms", i)
		}
	}
	// Each node passes an entry on once, to at most Fanout peers.
	if most := 30 * 8; s.kinds[kindEntries] > most {
		t.Errorf("%d messages for one write, want at most %d", s.kinds[kindEntries], most)
	}
	before := s.kinds[kindEntries]
	s.run(time.Minute)
	if s.kinds[kindEntries] != before {
		t.Error("the write still travels")
	}
}

// TestNeverBack: what came in on a connection never goes back into it, nor to
// its writer.
func TestNeverBack(t *testing.T) {
	s := newSim(t, 2)
	a, b, c := s.add(Config{Interval: time.Hour}), s.add(Config{Interval: time.Hour}), s.add(Config{Interval: time.Hour})
	s.connect(a, b)
	s.connect(b, c)
	s.connect(c, a)
	s.run(time.Second)
	clear(s.kinds)
	if err := a.set("k", "v"); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second)
	// a pushes to b and c. b and c push to each other at most.
	if n := s.kinds[kindEntries]; n > 4 {
		t.Errorf("%d messages, want at most 4", n)
	}
	if a.stats().Stale != 0 {
		t.Error("the write came back to its writer")
	}
}

// TestIdleCost: while nothing changes, a round costs one message of at most 200
// bytes.
func TestIdleCost(t *testing.T) {
	s := newSim(t, 3)
	for range 10 {
		s.add(Config{})
	}
	s.mesh(3)
	for i, n := range s.nodes {
		for k := range 50 {
			if err := n.set(fmt.Sprint(i, "/", k), "value"); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.run(10 * time.Second)
	s.mustConverge(10 * time.Second)
	rounds := func() (n uint64) {
		for _, n2 := range s.nodes {
			n += n2.stats().Rounds
		}
		return n
	}
	before, sent, bytes := rounds(), s.sent, s.sentBytes
	s.run(100 * time.Second)
	n := int(rounds() - before)
	if n < 900 || n > 1100 {
		t.Errorf("%d rounds in 100 s of 10 nodes, want about 1000", n)
	}
	if s.sent-sent != n {
		t.Errorf("%d messages for %d rounds between equal replicas", s.sent-sent, n)
	}
	if cost := (s.sentBytes - bytes) / n; cost > 200 {
		t.Errorf("a round costs %d bytes, want at most 200", cost)
	} else {
		t.Logf("a round between equal replicas costs %d bytes", cost)
	}
}

// TestColdJoin: an empty node is filled by one peer at a time.
func TestColdJoin(t *testing.T) {
	s := newSim(t, 4)
	for range 4 {
		s.add(Config{})
	}
	s.mesh(3)
	value := strings.Repeat("x", 5000)
	for k := range 1000 {
		if err := s.nodes[0].set(fmt.Sprint("key", k), value); err != nil {
			t.Fatal(err)
		}
	}
	s.mustConverge(20 * time.Second)
	s.run(time.Second)
	held := s.nodes[0].stats().Bytes
	before := s.sentBytes
	n := s.add(Config{})
	for _, p := range s.nodes[:4] {
		s.connect(n, p)
	}
	took := s.mustConverge(6 * time.Second)
	cost := float64(s.sentBytes-before) / float64(held)
	t.Logf("%d keys, %d KB in %v, %.2f times their size", n.stats().Keys, held>>10, took, cost)
	if cost > 1.5 {
		t.Errorf("joining cost %.2f times the state, want at most 1.5", cost)
	}
}

// TestHealAfterLongPartition: both halves wrote for ten minutes.
func TestHealAfterLongPartition(t *testing.T) {
	s := newSim(t, 5)
	for range 20 {
		s.add(Config{})
	}
	s.mesh(3)
	s.partition(func(i int) int { return i % 2 })
	for k := range 200 {
		if err := s.nodes[k%20].set(fmt.Sprint("key", k%60), fmt.Sprint(k)); err != nil {
			t.Fatal(err)
		}
		s.run(3 * time.Second)
	}
	s.heal()
	t.Logf("equal after %v", s.mustConverge(5*time.Second))
}

// TestSameSeedSameTrace: nothing depends on the order of maps, real time or
// real randomness.
func TestSameSeedSameTrace(t *testing.T) {
	trace := func() string {
		h := sha256.New()
		s := newSim(t, 6)
		for range 8 {
			s.add(Config{})
		}
		s.trace = func(m *conn.Message) {
			fmt.Fprintln(h, s.now.UnixNano(), m.From.Short(), m.Kind, m.Conn)
			h.Write(m.Payload)
		}
		s.mesh(4)
		s.loss = 0.2
		for k := range 200 {
			if err := s.nodes[k%8].set(fmt.Sprint(k%50), fmt.Sprint(k)); err != nil {
				t.Fatal(err)
			}
			s.run(5 * time.Millisecond)
		}
		s.run(5 * time.Second)
		return hex.EncodeToString(h.Sum(nil))
	}
	if a, b := trace(), trace(); a != b {
		t.Errorf("two runs of one seed gave traces %s and %s", a, b)
	}
}

// TestSlowConnection: what a full connection does not take is repaired.
func TestSlowConnection(t *testing.T) {
	s := newSim(t, 7)
	a, b := s.add(Config{}), s.add(Config{})
	id := s.connect(a, b)
	s.run(time.Second)
	a.links[id].room = 0
	for k := range 100 {
		if err := a.set(fmt.Sprint(k), strings.Repeat("x", 20000)); err != nil {
			t.Fatal(err)
		}
	}
	s.run(3 * time.Second)
	if a.stats().Unsent == 0 || b.stats().Keys != 0 {
		t.Fatalf("the connection took something: %+v", a.stats())
	}
	for b.stats().Keys < 100 && s.now.Sub(epoch) < time.Minute {
		a.links[id].room = 3 // a trickle
		s.run(500 * time.Millisecond)
	}
	a.links[id].room = -1
	s.mustConverge(5 * time.Second)
}

// TestConvergeAt50: 20 writers on 50 nodes make 600 writes in 9 s, over
// links that lose a fifth; all are equal 10 s after the last.
func TestConvergeAt50(t *testing.T) {
	s := newSim(t, 8)
	for range 50 {
		s.add(Config{})
	}
	s.mesh(4)
	s.loss, s.dup = 0.2, 0.05
	for i := range 600 {
		if i%300 == 60 {
			k := 2 + s.rand.IntN(3)
			s.partition(func(i int) int { return i % k })
		}
		if i%300 == 270 {
			s.heal()
		}
		n, key := s.nodes[i%20], fmt.Sprint("key", s.rand.IntN(200))
		if s.rand.IntN(4) == 0 {
			n.del(key)
		} else {
			n.set(key, fmt.Sprint(i))
		}
		s.run(15 * time.Millisecond)
	}
	s.heal()
	t.Logf("equal after %v, %d messages, %d KB", s.mustConverge(10*time.Second), s.sent, s.sentBytes>>10)
}
