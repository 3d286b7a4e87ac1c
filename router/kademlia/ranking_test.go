package kademlia

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/plexus-net/plexus/identity"
)

// A ranking is a sorted set, whatever is put into it and taken out in whatever
// order, and the rankings that it was made of stay as they were.
func TestRanking(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var self words
	nodes := make([]*known, 1000)
	for i := range nodes {
		var id identity.NodeID
		for j := range id {
			id[j] = byte(rng.Uint32())
		}
		nodes[i] = newKnown(id, self)
	}
	list := func(r ranking) (all []*known) {
		for i := range r.n {
			all = append(all, r.at(i))
		}
		return all
	}
	var r, old ranking
	var was []*known
	in := make(map[*known]bool)
	for step := range 6000 {
		n := nodes[rng.IntN(len(nodes))]
		if rng.IntN(6000) > step { // grows at first, then shrinks
			r = r.with(n)
			in[n] = true
		} else {
			r = r.without(n)
			delete(in, n)
		}
		if step%500 != 0 {
			continue
		}
		got := list(r)
		if len(got) != len(in) || !slices.IsSortedFunc(got, func(a, b *known) int { return a.away.compare(&b.away) }) {
			t.Fatalf("step %d: %d nodes, in order: %t; want %d in order", step, len(got), slices.IsSortedFunc(got, func(a, b *known) int { return a.away.compare(&b.away) }), len(in))
		}
		for _, n := range got {
			if !in[n] {
				t.Fatalf("step %d: a node that was taken out is there", step)
			}
		}
		for i, run := range r.runs {
			if len(run) == 0 || len(run) >= maxRun {
				t.Fatalf("step %d: run %d has %d nodes, want 1 to %d", step, i, len(run), maxRun-1)
			}
		}
		if !slices.Equal(list(old), was) {
			t.Fatalf("step %d: a ranking that others may read has changed", step)
		}
		old, was = r, got
	}
}
