package discovery

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// living returns the nodes that are alive.
func (s *sim) living() []*simNode {
	var out []*simNode
	for _, n := range s.nodes {
		if n.alive {
			out = append(out, n)
		}
	}
	return out
}

// allKnowAll reports whether every node knows exactly the others, and has told
// its directory.
func (s *sim) allKnowAll() bool {
	alive := s.living()
	for _, n := range alive {
		if n.disc.Known() != len(alive)-1 || len(n.directory) != len(alive)-1 {
			return false
		}
		for _, o := range alive {
			if o != n && n.directory[o.id] == nil {
				return false
			}
		}
	}
	return true
}

// covered reports whether every node has a link in each bucket that is not
// empty.
func (s *sim) covered() bool {
	for _, n := range s.living() {
		var have, want [identity.KeyBits + 1]bool
		for _, c := range n.conns {
			have[n.id.Key().CommonPrefix(c.info.Node.Key())] = true
		}
		for _, o := range s.living() {
			if o != n {
				want[n.id.Key().CommonPrefix(o.id.Key())] = true
			}
		}
		for i := range want {
			if want[i] && !have[i] {
				return false
			}
		}
	}
	return true
}

// checkRoutes forwards greedily by XOR from every node to every other.
func (s *sim) checkRoutes() (longest int) {
	s.t.Helper()
	byID := map[identity.NodeID]*simNode{}
	for _, n := range s.living() {
		byID[n.id] = n
	}
	for _, from := range s.living() {
		for _, to := range s.living() {
			at, hops := from, 0
			for at != to {
				next := at
				for _, c := range at.conns {
					if to.id.Key().Closer(c.info.Node.Key(), next.id.Key()) {
						next = byID[c.info.Node]
					}
				}
				if next == at {
					s.t.Errorf("no way from %s to %s: stuck at %s", from.name, to.name, at.name)
					break
				}
				at = next
				hops++
			}
			longest = max(longest, hops)
		}
	}
	return longest
}

func (s *sim) degrees() (mean float64, most int) {
	sum := 0
	for _, n := range s.living() {
		sum += len(n.conns)
		most = max(most, len(n.conns))
	}
	return float64(sum) / float64(len(s.living())), most
}

func (s *sim) traffic() (messages, bytes int) {
	for _, n := range s.nodes {
		messages += n.sent
		bytes += n.sentBytes
		n.sent, n.sentBytes = 0, 0
	}
	return messages, bytes
}

// star starts n nodes that know only the first.
func star(s *sim, n int) *simNode {
	first := s.add(1)
	for i := 2; i <= n; i++ {
		s.add(i, first.peer())
	}
	return first
}

func TestConvergence(t *testing.T) {

	for _, n := range []int{2, 3, 5, 16, 32, 64} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newSim(t, uint64(n))
			star(s, n)
			took := s.until(3*time.Second, "all know all", s.allKnowAll)
			messages, bytes := s.traffic()
			trimmed := s.until(30*time.Second, "buckets covered and mean degree as small as promised", func() bool {
				mean, most := s.degrees()
				return s.covered() && mean <= 1.5*math.Log2(float64(n))+1 && float64(most) <= 2*math.Log2(float64(n))+2
			})
			s.run(10 * time.Second)
			if !s.allKnowAll() || !s.covered() {
				t.Error("what was reached is lost again")
			}
			more, moreBytes := s.traffic()
			mean, most := s.degrees()
			hops := s.checkRoutes()
			if bound := 1.5*math.Log2(float64(n)) + 1; mean > bound {
				t.Errorf("mean degree %.2f, want at most %.2f", mean, bound)
			}
			dials := s.dials()
			quiet := 50 // seconds; fewer where there are more signatures to verify
			if n > 16 {
				quiet = 5
			}
			s.run(time.Duration(quiet) * time.Second)
			idle, idleBytes := s.traffic()
			if d := s.dials() - dials; d > n/8 {
				t.Errorf("%d dials in %d s after 10 s: links flap", d, quiet)
			}
			t.Logf("%d nodes: known after %v (%d messages, %d bytes a node), trimmed %v later (%d, %d); degree mean %.2f, max %d; at most %d hops; idle %.1f messages/s, %.0f bytes/s a node",
				n, took, messages/n, bytes/n, trimmed, more/n, moreBytes/n, mean, most, hops, float64(idle)/float64(quiet*n), float64(idleBytes)/float64(quiet*n))
		})
	}
}

// dials counts the dials of all nodes.
func (s *sim) dials() (n int) {
	for _, node := range s.nodes {
		n += int(node.disc.stats.Dials)
	}
	return n
}

func (s *sim) stats(n *simNode) Stats {
	st, err := n.disc.Stats(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}
