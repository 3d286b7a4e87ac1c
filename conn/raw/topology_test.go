package raw_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/testnet"
)

// The shapes of networks that testnet knows, of bare nodes: as many connections
// as the shape has edges, and a broadcast reaches all neighbours.
func TestTopologies(t *testing.T) {
	const nodes = 10
	for _, tt := range []struct {
		name  string
		shape testnet.Topology
		edges int // -1: as the seed has it
	}{
		{"none", testnet.None, 0},
		{"line", testnet.Line, 9},
		{"ring", testnet.Ring, 10},
		{"mesh", testnet.Mesh, 45},
		{"star", testnet.Star, 9},
		{"grid", testnet.Grid, 13}, // rows of 4, 4 and 2: 7 to the right, 6 below
		{"tree", testnet.Tree, 9},
		{"random", testnet.Random(3), -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edges := tt.shape(nodes, rand.New(rand.NewPCG(1, 2)))
			if tt.edges >= 0 && len(edges) != tt.edges {
				t.Errorf("%d edges, want %d", len(edges), tt.edges)
			}
			if tt.edges < 0 && (len(edges) < nodes-1 || len(edges) > nodes*3) {
				t.Errorf("%d edges, want at least a tree and at most 3 per node", len(edges))
			}
			heard := make(chan struct{}, 2*len(edges))
			h := &hooks{message: func(context.Context, *raw.Conn, []byte) { heard <- struct{}{} }}
			all, addrs, degree := make([]*raw.Node, nodes), make([]string, nodes), make([]int, nodes)
			for i := range all {
				all[i], addrs[i] = listen(t, h, raw.Config{})
			}
			for _, e := range edges {
				connect(t, all[e.From], addrs[e.To])
				degree[e.From]++
				degree[e.To]++
			}
			for i, n := range all {
				until(t, "the other ends are there", func() bool { return n.NumConnected() == degree[i] })
				if failed := n.Broadcast([]byte("hello")); failed != nil {
					t.Errorf("node %d: %v", i, failed)
				}
			}
			for range 2 * len(edges) {
				wait(t, heard, "a broadcast")
			}
		})
	}
}
