package testnet_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behaviors/discovery"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/testnet"
)

// hopCounter notes over how many hops messages come. Its payloads are the index
// of the sender.
type hopCounter struct {
	mu    sync.Mutex // guards hops
	hops  map[int]uint8
	agent *agent.Behavior
}

func (h *hopCounter) OnStart(a *agent.Behavior) error { h.agent = a; return nil }

func (h *hopCounter) OnMessage(_ *agent.Behavior, m *conn.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hops[int(m.Payload[0])] = m.Hops
}

func (h *hopCounter) heard() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.hops)
}

// hopCounters registers one on each node.
func hopCounters(all []*hopCounter) func(n *testnet.Node) error {
	return func(n *testnet.Node) error {
		all[n.Index] = &hopCounter{hops: make(map[int]uint8)}
		return n.Register(70, all[n.Index])
	}
}

// greetAll has every node send to every other, and reports the first error.
func greetAll(all []*hopCounter, nodes []*testnet.Node) error {
	for i, h := range all {
		for j := range all {
			if i == j {
				continue
			}
			if err := h.agent.Send(router.ToNode(nodes[j].Key.ID()), 1, []byte{byte(i)}); err != nil {
				return fmt.Errorf("from %d to %d: %w", i, j, err)
			}
		}
	}
	return nil
}

// A simulated network and one over real QUIC sockets, of the same seed and
// topology, route alike: every message takes the same number of hops in both.
func TestSimulatedHopsAreReal(t *testing.T) {
	const nodes, seed = 24, 5
	simulated, live := make([]*hopCounter, nodes), make([]*hopCounter, nodes)

	s := testnet.Simulate(t, seed, testnet.Scenario{Nodes: nodes, Register: hopCounters(simulated),
		Link: testnet.Link{Latency: testnet.Fixed(10 * time.Millisecond)}})
	edges := bucketEdges(s.Nodes())
	for _, e := range edges {
		if _, err := s.Node(e.From).Connect(s.Context(), s.Node(e.To).Address()); err != nil {
			t.Fatal(err)
		}
	}
	if err := greetAll(simulated, s.Nodes()); err != nil {
		t.Fatal(err)
	}
	s.Sleep(time.Minute)

	r := testnet.New(t, testnet.Options{Nodes: nodes, Seed: seed, Transport: "quic", Topology: testnet.None, Register: hopCounters(live)})
	for _, e := range edges {
		if _, err := r.Node(e.From).Connect(t.Context(), r.Node(e.To).Address()); err != nil {
			t.Fatal(err)
		}
	}
	r.Until(t, "both ends of every connection have it", func() bool {
		return !slices.ContainsFunc(edges, func(e testnet.Edge) bool { return !r.Connected(e.From, e.To) || !r.Connected(e.To, e.From) })
	})
	if err := greetAll(live, r.Nodes()); err != nil {
		t.Fatal(err)
	}
	r.Until(t, "every node has heard every other", func() bool {
		return !slices.ContainsFunc(live, func(h *hopCounter) bool { return h.heard() < nodes-1 })
	})

	far := 0
	for i := range nodes {
		for j := range nodes {
			a, b := simulated[i].hops[j], live[i].hops[j]
			if i != j && (a != b || a == 0) {
				t.Errorf("from node %d to node %d it is %d hops simulated and %d over QUIC, want the same and at least 1", j, i, a, b)
			}
			if a > 1 {
				far++
			}
		}
	}
	if far < nodes {
		t.Errorf("%d messages went over several hops, want more: the topology gives routing nothing to do", far)
	}
}

// bucketEdges fills, for each node, each bucket that can be filled with one
// node, so that greedy routing finds every node.
func bucketEdges(nodes []*testnet.Node) []testnet.Edge {
	keys := make([]identity.Key, len(nodes))
	for i, n := range nodes {
		keys[i] = n.Key.ID().Key()
	}
	seen := make(map[testnet.Edge]bool)
	var edges []testnet.Edge
	for a := range nodes {
		var filled [identity.KeyBits + 1]bool
		for i := range nodes {
			b := (a + i) % len(nodes)
			prefix := keys[a].CommonPrefix(keys[b])
			if a == b || filled[prefix] {
				continue
			}
			filled[prefix] = true
			e := testnet.Edge{From: min(a, b), To: max(a, b)}
			if !seen[e] {
				seen[e] = true
				edges = append(edges, e)
			}
		}
	}
	return edges
}

// BenchmarkConvergence lets a network form by discovery, over real QUIC sockets
// behind a delay in user space and in a simulation with that latency, and
// compares the times until every node knows every other.
func BenchmarkConvergence(b *testing.B) {
	const nodes = 16
	for _, delay := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			var live, simulated time.Duration
			for seed := uint64(1); b.Loop(); seed++ {
				live += convergeLive(b, nodes, seed, delay)
				simulated += convergeSimulated(b, nodes, seed, delay)
			}
			b.ReportMetric(live.Seconds()/float64(b.N), "s-live")
			b.ReportMetric(simulated.Seconds()/float64(b.N), "s-simulated")
			b.ReportMetric(simulated.Seconds()/live.Seconds(), "simulated/live")
		})
	}
}

// knowing is a network of which every node finds the others by discovery.
type knowing []*discovery.Discovery

func (k knowing) register(n *testnet.Node, seeds []identity.PeerAddress, addresses func() []identity.Address) error {
	d := discovery.New(discovery.Config{Key: n.Key, Seeds: seeds, Directory: n.Table.(router.Directory), Services: n.Services, Addresses: addresses})
	k[n.Index] = d
	return n.Register(discovery.Service, d)
}

func (k knowing) converged() bool {
	return !slices.ContainsFunc(k, func(d *discovery.Discovery) bool { return d == nil || d.Known() < len(k)-1 })
}

func convergeSimulated(b *testing.B, nodes int, seed uint64, delay time.Duration) time.Duration {
	b.StopTimer()
	defer b.StartTimer()
	k := make(knowing, nodes)
	var seeds []identity.PeerAddress
	s := testnet.Simulate(b, seed, testnet.Scenario{Nodes: nodes, Link: testnet.Link{Latency: testnet.Fixed(delay)}, Register: func(n *testnet.Node) error {
		if n.Index == 0 {
			seeds = []identity.PeerAddress{{ID: n.Key.ID(), Addresses: []identity.Address{{Scheme: "sim", Host: "node0:1"}}}}
			return k.register(n, nil, n.Addresses)
		}
		return k.register(n, seeds, n.Addresses)
	}})
	began := s.Now()
	for !k.converged() {
		s.Sleep(time.Millisecond)
	}
	return s.Now() - began
}

func convergeLive(b *testing.B, nodes int, seed uint64, delay time.Duration) time.Duration {
	k := make(knowing, nodes)
	far := &distance{delay: delay}
	defer far.close()
	var net *testnet.Net
	began := time.Now()
	net, err := testnet.Start(b.Context(), testnet.Options{Nodes: nodes, Seed: seed, Transport: "quic", Topology: testnet.None, Register: func(n *testnet.Node) error {
		var seeds []identity.PeerAddress
		if n.Index > 0 {
			seeds = []identity.PeerAddress{{ID: far.first, Addresses: []identity.Address{far.front(far.addresses()[0])}}}
		} else {
			far.first, far.addresses = n.Key.ID(), n.Addresses
		}
		return k.register(n, seeds, func() (all []identity.Address) {
			for _, a := range n.Addresses() {
				all = append(all, far.front(a))
			}
			return all
		})
	}})
	if err != nil {
		b.Fatal(err)
	}
	if err := net.Wait(b.Context(), k.converged); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	if err := net.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}

// A distance puts nodes behind sockets that hand on packets after a delay, in
// both directions.
type distance struct {
	delay     time.Duration
	first     identity.NodeID
	addresses func() []identity.Address

	mu      sync.Mutex // guards the rest
	fronts  map[identity.Address]identity.Address
	sockets []net.PacketConn
	work    sync.WaitGroup
}

// front returns the address of a socket before that of a node.
func (d *distance) front(node identity.Address) identity.Address {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.fronts[node]; ok {
		return f
	}
	to, err := net.ResolveUDPAddr("udp", node.Host)
	if err != nil {
		panic(err) // a node told it
	}
	s := d.socket()
	clients := make(map[string]net.PacketConn)
	d.forward(s, func(p []byte, from net.Addr) (net.PacketConn, net.Addr) {
		back := clients[from.String()]
		if back == nil {
			d.mu.Lock()
			back = d.socket()
			d.mu.Unlock()
			clients[from.String()] = back
			d.forward(back, func([]byte, net.Addr) (net.PacketConn, net.Addr) { return s, from })
		}
		return back, to
	})
	if d.fronts == nil {
		d.fronts = make(map[identity.Address]identity.Address)
	}
	f := identity.Address{Scheme: node.Scheme, Host: s.LocalAddr().String()}
	d.fronts[node] = f
	return f
}

// socket opens a socket. The caller holds mu.
func (d *distance) socket() net.PacketConn {
	s, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		panic(err) // out of sockets
	}
	d.sockets = append(d.sockets, s)
	return s
}

// forward hands on what a socket receives, as where says.
func (d *distance) forward(s net.PacketConn, where func(p []byte, from net.Addr) (net.PacketConn, net.Addr)) {
	d.work.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			p := slices.Clone(buf[:n])
			by, to := where(p, from)
			time.AfterFunc(d.delay, func() { _, _ = by.WriteTo(p, to) }) // a packet is lost when all is over
		}
	})
}

func (d *distance) close() {
	d.mu.Lock()
	for _, s := range d.sockets {
		s.Close()
	}
	d.mu.Unlock()
	d.work.Wait()
}
