package discovery

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// shortTTL makes nodes forget fast, so that runs are short.
func shortTTL(_ *simNode, c *Config) { c.TTL = 6 * time.Second }

// settled is a network of n nodes that has settled.
func settled(t *testing.T, n int, conf func(*simNode, *Config)) *sim {
	t.Helper()
	s := newSim(t, 7)
	s.conf = conf
	star(s, n)
	s.until(3*time.Second, "all know all", s.allKnowAll)
	s.run(8 * time.Second)
	return s
}

func TestDeadNodeIsForgotten(t *testing.T) {
	s := settled(t, 16, shortTTL)
	dead := s.nodes[8]
	dead.kill()
	took := s.until(9*time.Second, "all have forgotten the dead node", s.allKnowAll)
	s.until(5*time.Second, "buckets are covered without it", s.covered)
	s.run(8 * time.Second)
	if !s.allKnowAll() {
		t.Error("the dead node came back")
	}
	s.checkRoutes()
	t.Logf("forgotten after %v", took)
}

func TestLeaveIsNotFailure(t *testing.T) {
	s := settled(t, 16, nil)
	s.nodes[3].stop()
	took := s.until(2*time.Second, "all have heard that the node left", s.allKnowAll)
	s.until(3*time.Second, "buckets are covered without it", s.covered)
	s.run(10 * time.Second)
	if !s.allKnowAll() {
		t.Error("the node that left came back")
	}
	t.Logf("known after %v", took)
}

func TestSeedDies(t *testing.T) {
	s := settled(t, 16, shortTTL)
	seed := s.nodes[0]
	seed.kill()
	s.until(10*time.Second, "all have forgotten the seed", s.allKnowAll)
	s.until(5*time.Second, "buckets are covered without it", s.covered)
	s.checkRoutes()
	// A newcomer joins through any other node.
	s.add(99, s.nodes[5].peer())
	s.until(2*time.Second, "the newcomer is known", s.allKnowAll)
	// And the seed is never forgotten: when it is back, it is found, although
	// it knows nobody.
	seed.start()
	s.until(time.Minute, "the seed is found again", s.allKnowAll)
}

func TestRestartWithSameKey(t *testing.T) {
	for _, tt := range []struct {
		name string
		skew time.Duration
	}{{"same clock", 0}, {"clock set back", -time.Hour}, {"clock a year ahead", 365 * 24 * time.Hour}} {
		t.Run(tt.name, func(t *testing.T) {
			s := settled(t, 16, nil)
			n := s.nodes[4]
			before := n.disc.own.sequence
			n.kill()
			s.run(3 * time.Second)
			n.skew = tt.skew
			n.start(s.nodes[0].peer())
			s.until(3*time.Second, "the new record is everywhere", func() bool {
				return s.allKnowAll() && !slices.ContainsFunc(s.nodes, func(o *simNode) bool {
					return o != n && o.disc.store.nodes[n.id].sequence <= before
				})
			})
		})
	}
}

func TestSequenceAfterClockFixed(t *testing.T) {
	s := settled(t, 5, nil)
	n := s.nodes[2]
	n.kill()
	n.skew = 365 * 24 * time.Hour
	s.run(time.Second)
	n.start(s.nodes[0].peer())
	s.until(3*time.Second, "known with a clock a year ahead", s.allKnowAll)
	n.kill()
	n.skew = 0
	s.run(time.Second)
	n.start(s.nodes[0].peer())
	s.until(3*time.Second, "known with the clock fixed", s.allKnowAll)
	s.until(3*time.Second, "all have the new record", func() bool {
		return !slices.ContainsFunc(s.nodes, func(o *simNode) bool {
			return o != n && o.disc.store.nodes[n.id].sequence != n.disc.own.sequence
		})
	})
}

func TestRejoin(t *testing.T) {
	s := settled(t, 8, shortTTL)
	lost := s.nodes[5]
	s.partition(func(n *simNode) bool { return n == lost })
	s.until(15*time.Second, "the others have forgotten it, and it them", func() bool {
		return lost.disc.Known() == 0 && s.nodes[0].disc.Known() == 6
	})
	s.run(40 * time.Second)
	if len(lost.conns) != 0 {
		t.Fatal("a connection through the partition")
	}
	s.cut = nil
	took := s.until(35*time.Second, "the lost node has rejoined: back-off is at most 30 s", s.allKnowAll)
	t.Logf("rejoined after %v", took)
}

func TestSplitHeals(t *testing.T) {
	for _, split := range []time.Duration{30 * time.Second, 10 * time.Minute} {
		t.Run(split.String(), func(t *testing.T) {
			s := settled(t, 12, func(_ *simNode, c *Config) { c.TTL = 15 * time.Second })
			if split > time.Minute { // fewer renewals, to verify fewer signatures
				for _, n := range s.nodes {
					n.disc.config.TTL = 3 * time.Minute
				}
			}
			s.partition(func(n *simNode) bool { return n.index%2 == 0 })
			s.run(split)
			for _, n := range s.nodes {
				if n.disc.Known() != 5 {
					t.Fatalf("%s knows %d nodes, want the 5 of its half", n.name, n.disc.Known())
				}
			}
			s.cut = nil
			took := s.until(time.Minute, "the halves have found each other", s.allKnowAll)
			s.until(10*time.Second, "buckets are covered", s.covered)
			t.Logf("healed after %v", took)
		})
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	var sums [2]string
	for i := range sums {
		s := newSim(t, 3)
		star(s, 12)
		s.run(5 * time.Second)
		s.nodes[4].kill()
		s.run(5 * time.Second)
		sums[i] = string(s.trace.Sum(nil))
	}
	if sums[0] != sums[1] {
		t.Error("two runs with one seed differ")
	}
}

// TestTrimmedLinkHasCause: while nothing fails, connections end for one reason.
func TestTrimmedLinkHasCause(t *testing.T) {
	s := newSim(t, 1)
	star(s, 16)
	s.run(10 * time.Second)
	trimmed, remote := uint64(0), 0
	for _, n := range s.nodes {
		trimmed += s.stats(n).Trimmed
		for _, cause := range n.ends {
			var ce *conn.CloseError
			if !errors.As(cause, &ce) || ce.Code != conn.CodeClosed || ce.Reason != "discovery: link not needed" {
				t.Errorf("a connection ended with: %v", cause)
			} else if ce.Remote {
				remote++
			}
		}
	}
	if trimmed == 0 || remote != int(trimmed) {
		t.Errorf("%d connections trimmed, of which %d nodes were told; want the same, not zero", trimmed, remote)
	}
}

// TestChurn lets nodes come and go, and then expects a network that is whole.
func TestChurn(t *testing.T) {
	s := settled(t, 16, shortTTL)
	for i := range 12 {
		n := s.nodes[1+s.rng.IntN(15)]
		switch {
		case !n.alive:
			n.start(s.nodes[0].peer())
		case i%2 == 0:
			n.stop()
		default:
			n.kill()
		}
		s.run(2 * time.Second)
	}
	s.until(10*time.Second, "all know all who live", s.allKnowAll)
	s.until(5*time.Second, "buckets are covered", s.covered)
	s.run(10 * time.Second)
	mean, _ := s.degrees()
	if bound := 1.5*math.Log2(float64(len(s.living()))) + 1; mean > bound {
		t.Errorf("mean degree %.2f, want at most %.2f", mean, bound)
	}
	for _, n := range s.living() {
		if len(n.disc.wants) > 16 || len(n.disc.underway) != 0 || len(n.disc.newsBy) > 16 { // renewals are on their way
			t.Errorf("%s keeps %d wants, %d dials, %d news", n.name, len(n.disc.wants), len(n.disc.underway), len(n.disc.newsBy))
		}
	}
}

// partition separates those for whom side says so from the others.
func (s *sim) partition(side func(*simNode) bool) {
	s.cut = func(a, b *simNode) bool { return side(a) != side(b) }
	for _, n := range s.living() {
		for _, c := range n.sortedConns() {
			if s.cut(n, c.far.node) {
				c.open = false
				s.after(time.Second, func() { c.ended(&conn.CloseError{Code: conn.CodeTimeout}) })
			}
		}
	}
}

// TestChainOfSeeds: the nodes do not all know the same seed, and one of their
// seeds does not exist.
func TestChainOfSeeds(t *testing.T) {
	s := newSim(t, 5)
	prev := s.add(1)
	for i := 2; i <= 16; i++ {
		prev = s.add(i, prev.peer(), identity.PeerAddress{ID: testKey(1000).ID(), Addresses: []identity.Address{memAddress("gone")}})
	}
	took := s.until(5*time.Second, "all know all", s.allKnowAll)
	s.until(5*time.Second, "buckets are covered", s.covered)
	t.Logf("known after %v", took)
}
