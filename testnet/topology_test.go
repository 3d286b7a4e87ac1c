package testnet_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/plexus-net/plexus/testnet"
)

// neighbours checks the edges of a network and returns who is connected to
// whom.
func neighbours(t *testing.T, n int, edges []testnet.Edge) []map[int]bool {
	t.Helper()
	next := make([]map[int]bool, n)
	for i := range next {
		next[i] = make(map[int]bool)
	}
	for _, e := range edges {
		if e.From == e.To || min(e.From, e.To) < 0 || max(e.From, e.To) >= n || next[e.From][e.To] {
			t.Fatalf("edge %v of %d nodes: it leads to itself, or out, or is there twice", e, n)
		}
		next[e.From][e.To], next[e.To][e.From] = true, true
	}
	return next
}

// pathLength returns the mean length of the shortest paths between all pairs,
// and whether there is one between all.
func pathLength(next []map[int]bool) (mean float64, connected bool) {
	total, pairs := 0, 0
	for from := range next {
		far := map[int]int{from: 0}
		for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
			for to := range next[queue[0]] {
				if _, ok := far[to]; !ok {
					far[to] = far[queue[0]] + 1
					queue = append(queue, to)
				}
			}
		}
		for _, d := range far {
			total += d
		}
		pairs += len(far) - 1
	}
	return float64(total) / float64(max(pairs, 1)), pairs == len(next)*(len(next)-1)
}

// clustering returns how many of the pairs of neighbours of a node are
// connected, in the mean of all nodes that have two.
func clustering(next []map[int]bool) float64 {
	var sum float64
	nodes := 0
	for _, mine := range next {
		if len(mine) < 2 {
			continue
		}
		links := 0
		for a := range mine {
			for b := range mine {
				if a < b && next[a][b] {
					links++
				}
			}
		}
		nodes++
		sum += float64(links) / float64(len(mine)*(len(mine)-1)/2)
	}
	return sum / float64(max(nodes, 1))
}

func TestSmallWorldEdges(t *testing.T) {
	for _, c := range []struct{ n, degree, edges int }{
		{0, 6, 0}, {1, 6, 0}, {2, 6, 1}, {3, 6, 3}, {4, 6, 6}, {5, 6, 10}, {6, 6, 15}, {7, 6, 21}, // Mesh
		{8, 6, 24}, {9, 6, 27}, {20, 4, 40}, {200, 6, 600}, {1000, 10, 5000},
		{20, 5, 40}, {20, 3, 20}, // odd
		{20, 2, 20}, {20, 1, 20}, {20, 0, 20}, {20, -3, 20}, // Ring
		{20, 1000, 190},
	} {
		t.Run(fmt.Sprintf("%d nodes of degree %d", c.n, c.degree), func(t *testing.T) {
			for seed := range uint64(20) {
				edges := testnet.SmallWorld(c.degree)(c.n, rand.New(rand.NewPCG(seed, 1)))
				if len(edges) != c.edges {
					t.Fatalf("%d edges, want %d", len(edges), c.edges)
				}
				next := neighbours(t, c.n, edges)
				for i := range c.n { // so all reach all
					if c.n > 1 && !next[i][(i+1)%c.n] {
						t.Fatalf("node %d is not connected to the next", i)
					}
				}
				if again := testnet.SmallWorld(c.degree)(c.n, rand.New(rand.NewPCG(seed, 1))); !slices.Equal(edges, again) {
					t.Fatalf("%v and %v from one seed", edges, again)
				}
				if c.degree == 2 && !slices.Equal(edges, testnet.Ring(c.n, nil)) {
					t.Fatalf("%v, want Ring", edges)
				}
			}
		})
	}
}

// TestSmallWorldIsOne compares it with the ring and the random network that it
// is between.
func TestSmallWorldIsOne(t *testing.T) {
	const n = 200
	rng := func() *rand.Rand { return rand.New(rand.NewPCG(8, 9)) }
	small := neighbours(t, n, testnet.SmallWorld(6)(n, rng()))
	random := neighbours(t, n, testnet.Random(3)(n, rng())) // as many edges, but for one or two
	ring := neighbours(t, n, testnet.Ring(n, rng()))
	var edges []testnet.Edge
	for i := range n {
		edges = append(edges, testnet.Edge{From: i, To: (i + 1) % n}, testnet.Edge{From: i, To: (i + 2) % n}, testnet.Edge{From: i, To: (i + 3) % n})
	}
	regular := neighbours(t, n, edges) // of which nothing leads anywhere else
	length := func(next []map[int]bool) float64 {
		l, ok := pathLength(next)
		if !ok {
			t.Fatal("not all nodes reach all")
		}
		return l
	}
	t.Logf("clustering: %.3f, of the regular network %.3f, of a random one %.3f", clustering(small), clustering(regular), clustering(random))
	t.Logf("path length: %.2f, of the regular network %.2f, of a random one %.2f, of a ring %.2f", length(small), length(regular), length(random), length(ring))
	if c := clustering(small); c < 4*clustering(random) || c >= clustering(regular) {
		t.Errorf("clustering is %.3f, want much more than a random network's %.3f and less than the regular one's %.3f", c, clustering(random), clustering(regular))
	}
	if l := length(small); l > length(regular)/2 || l > length(ring)/5 || l > 2*length(random) {
		t.Errorf("path length is %.2f, want less than half of the regular network's %.2f and not much more than a random one's %.2f", l, length(regular), length(random))
	}
}

// TestSmallWorldRewiresATenth counts the edges that are longer than those of
// the regular network.
func TestSmallWorldRewiresATenth(t *testing.T) {
	const n, degree = 4000, 10
	far, ends := 0, make(map[int]int)
	for _, e := range testnet.SmallWorld(degree)(n, rand.New(rand.NewPCG(1, 1))) {
		if d := (e.To - e.From + n) % n; min(d, n-d) > degree/2 {
			far++
			if ends[e.To]++; ends[e.To] > 10 {
				t.Fatalf("%d edges lead far away to node %d, want them spread", ends[e.To], e.To)
			}
		}
	}
	want := n * (degree/2 - 1) / 10
	if far < want*9/10 || far > want*11/10 {
		t.Errorf("%d edges lead far away, want about %d, a tenth of all but the ring's", far, want)
	}
}

// TestSmallWorldJoinsAgain looks for two nodes that one edge has left and
// another has joined, from either side: an edge may lead anywhere.
func TestSmallWorldJoinsAgain(t *testing.T) {
	const n = 8
	var same, other bool
	for seed := range uint64(5000) {
		edges := testnet.SmallWorld(6)(n, rand.New(rand.NewPCG(seed, 2)))
		neighbours(t, n, edges)
		for i, e := range edges[n : 2*n] {
			if left := (i + 2) % n; e.To != left {
				same = same || slices.Contains(edges, testnet.Edge{From: i, To: left})
				other = other || slices.Contains(edges, testnet.Edge{From: left, To: i})
			}
		}
	}
	if !same || !other {
		t.Errorf("an edge from the node that has left the other joins them again: %v; one from the other: %v; want both", same, other)
	}
}
