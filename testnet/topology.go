package testnet

import (
	"math"
	"math/rand/v2"
)

// An Edge is a connection that From makes to To.
type Edge struct{ From, To int }

// A Topology lists the edges of a network of n nodes. It takes what is random
// from rng.
type Topology func(n int, rng *rand.Rand) []Edge

// None has no edges: the behaviours connect the nodes.
func None(int, *rand.Rand) []Edge { return nil }

// Line connects each node to the next: n-1 edges.
func Line(n int, _ *rand.Rand) []Edge {
	var edges []Edge
	for i := range n - 1 {
		edges = append(edges, Edge{i, i + 1})
	}
	return edges
}

// Ring is a Line whose ends are connected: n edges, for n > 2.
func Ring(n int, rng *rand.Rand) []Edge {
	edges := Line(n, rng)
	if n > 2 {
		edges = append(edges, Edge{n - 1, 0})
	}
	return edges
}

// Star connects every node to the first: n-1 edges.
func Star(n int, _ *rand.Rand) []Edge {
	var edges []Edge
	for i := 1; i < n; i++ {
		edges = append(edges, Edge{i, 0})
	}
	return edges
}

// Mesh connects every two nodes: n(n-1)/2 edges.
func Mesh(n int, _ *rand.Rand) []Edge {
	var edges []Edge
	for i := range n {
		for j := range i {
			edges = append(edges, Edge{i, j})
		}
	}
	return edges
}

// Grid lays the nodes out in rows of about the square root of n, and connects
// each to its neighbours to the right and below.
func Grid(n int, _ *rand.Rand) []Edge {
	width := int(math.Ceil(math.Sqrt(float64(n))))
	var edges []Edge
	for i := range n {
		if i%width != width-1 && i+1 < n {
			edges = append(edges, Edge{i, i + 1})
		}
		if i+width < n {
			edges = append(edges, Edge{i, i + width})
		}
	}
	return edges
}

// Tree is a binary tree with the first node as its root: n-1 edges.
func Tree(n int, _ *rand.Rand) []Edge {
	var edges []Edge
	for i := 1; i < n; i++ {
		edges = append(edges, Edge{i, (i - 1) / 2})
	}
	return edges
}

// Random connects the nodes with a random tree, so that all reach all, and
// then each node with random others until it has made degree connections.
func Random(degree int) Topology {
	return func(n int, rng *rand.Rand) []Edge {
		seen := make(map[Edge]bool)
		var edges []Edge
		add := func(a, b int) bool {
			e := Edge{min(a, b), max(a, b)}
			if a == b || seen[e] {
				return false
			}
			seen[e] = true
			edges = append(edges, Edge{a, b})
			return true
		}
		for i := 1; i < n; i++ {
			add(i, rng.IntN(i))
		}
		for i := range n {
			for made, tries := 1, 0; made < degree && tries < 10*degree; tries++ {
				if add(i, rng.IntN(n)) {
					made++
				}
			}
		}
		return edges
	}
}

// SmallWorld is the model of Watts and Strogatz (Nature 393:440, 1998), with
// the short ways of a random network and the cliques of a regular one: a ring
// in which each node is connected to the degree nearest, half of them on either
// side, and then a tenth of these edges lead anywhere else. Those to the next
// node stay, unlike in the paper, so that all reach all: with degree 2 it is
// Ring.
//
// It has n*degree/2 edges; it is Mesh where n is not above degree. An odd
// degree counts as the even one below, and the least is 2.
func SmallWorld(degree int) Topology {
	return func(n int, rng *rand.Rand) []Edge {
		next := make([]map[int]bool, n)
		for i := range next {
			next[i] = make(map[int]bool)
		}
		var edges []Edge
		for step := 1; step <= min(max(degree/2, 1), n/2); step++ {
			for i := range n {
				to := (i + step) % n
				if !next[i][to] { // met twice where step is half of n
					next[i][to], next[to][i] = true, true
					edges = append(edges, Edge{i, to})
				}
			}
		}
		for i := n; i < len(edges); i++ { // the first n are the ring
			from, to := edges[i].From, edges[i].To
			if rng.Float64() >= rewired || len(next[from]) == n-1 {
				continue
			}
			other := rng.IntN(n)
			for other == from || next[from][other] {
				other = rng.IntN(n)
			}
			delete(next[from], to)
			delete(next[to], from)
			next[from][other], next[other][from] = true, true
			edges[i].To = other
		}
		return edges
	}
}

// rewired is the share of the edges of a SmallWorld that lead anywhere: in the
// paper's figure 2 the ways are short by then and the cliques still there.
const rewired = 0.1
