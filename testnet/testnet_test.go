package testnet_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A counter counts the messages that reach its node.
type counter struct {
	n atomic.Int64
	a atomic.Pointer[agent.Behavior]
}

func (c *counter) OnStart(a *agent.Behavior) error {
	c.a.Store(a)
	return nil
}

func (c *counter) OnMessage(*agent.Behavior, *conn.Message) { c.n.Add(1) }

func TestTopologies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name     string
		topology testnet.Topology
		n, edges int
	}{
		{"none", testnet.None, 5, 0}, {"line", testnet.Line, 5, 4}, {"ring", testnet.Ring, 5, 5}, {"ring of two", testnet.Ring, 2, 1},
		{"star", testnet.Star, 5, 4}, {"mesh", testnet.Mesh, 5, 10}, {"grid", testnet.Grid, 9, 12}, {"tree", testnet.Tree, 7, 6},
	} {
		edges := c.topology(c.n, rng)
		if len(edges) != c.edges {
			t.Errorf("%s of %d nodes has %d edges, want %d", c.name, c.n, len(edges), c.edges)
		}
		for _, e := range edges {
			if e.From == e.To || e.From < 0 || e.To < 0 || e.From >= c.n || e.To >= c.n {
				t.Errorf("%s: edge %v", c.name, e)
			}
		}
	}
	a := testnet.Random(3)(20, rand.New(rand.NewPCG(7, 7)))
	b := testnet.Random(3)(20, rand.New(rand.NewPCG(7, 7)))
	if len(a) < 19 || len(a) != len(b) {
		t.Fatalf("random topologies of one seed have %d and %d edges", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("edge %d is %v and %v from one seed", i, a[i], b[i])
		}
	}
}

// TestCutHealStopRestart breaks and mends a network over every transport.
func TestCutHealStopRestart(t *testing.T) {
	for _, transport := range []string{"mem", "tcp", "quic"} {
		t.Run(transport, func(t *testing.T) {
			var counters [3]counter
			net := testnet.New(t, testnet.Options{Nodes: 3, Topology: testnet.Ring, Transport: transport, Seed: 3,
				Register: func(n *testnet.Node) error { return n.Register(70, &counters[n.Index]) }})
			send := func(from, to int) error {
				return counters[from].a.Load().Send(router.ToNode(net.Node(to).Key.ID()), 1, nil)
			}
			if err := send(0, 1); err != nil {
				t.Fatal(err)
			}
			net.Until(t, "the message is there", func() bool { return counters[1].n.Load() == 1 })
			net.Cut(0, 1)
			net.Until(t, "the cut shows on both sides", func() bool { return !net.Connected(0, 1) && !net.Connected(1, 0) })
			net.Heal(0, 1)
			net.Until(t, "it is mended", func() bool { return net.Connected(0, 1) && net.Connected(1, 0) })
			if err := net.Stop(2); err != nil {
				t.Fatal(err)
			}
			net.Until(t, "the others have noticed", func() bool { return !net.Connected(0, 2) && !net.Connected(1, 2) })
			if err := net.Restart(2); err != nil {
				t.Fatal(err)
			}
			net.Until(t, "it is back", func() bool { return net.Connected(0, 2) && net.Connected(1, 2) })
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []testnet.Options{{Nodes: -1}, {Nodes: 5000}, {Transport: "pigeon"}} {
		if net, err := testnet.Start(t.Context(), o); err == nil {
			net.Close()
			t.Errorf("Start(%+v) took it", o)
		}
	}
}

func Example() {
	var _ behavior.Behavior = &counter{}
	t := &testing.T{} // in a test of yours, the test's own
	_ = func() {
		net := testnet.New(t, testnet.Options{Nodes: 5, Topology: testnet.Line,
			Register: func(n *testnet.Node) error { return n.Register(70, &counter{}) }})
		net.Cut(1, 2)
		net.Until(t, "node 1 has noticed", func() bool { return !net.Connected(1, 2) })
		net.Heal(1, 2)
	}
}
