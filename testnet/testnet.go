// Package testnet runs whole networks of real nodes in one process, over any
// transport, in a topology of your choice, and breaks them on purpose.
//
//	func TestChat(t *testing.T) {
//		net := testnet.New(t, testnet.Options{
//			Nodes:    5,
//			Topology: testnet.Line,
//			Register: func(n *testnet.Node) error { return n.Register(70, &Chat{}) },
//		})
//		net.Cut(1, 2)
//		net.Until(t, "the two halves have noticed", func() bool { ... })
//		net.Heal(1, 2)
//	}
//
// Nothing in it sleeps: tests wait for conditions, with a deadline.
package testnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/sim"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/kademlia"
)

// Options say what a network is made of. Zero means the default.
type Options struct {
	// Nodes is how many there are. Default 2, at most 4096.
	Nodes int
	// Topology says who is connected to whom. Default Line; None leaves it to
	// the behaviours.
	Topology Topology
	// Transport is "mem", "tcp" or "quic", on loopback. Default "mem".
	Transport string
	// Seed makes keys, and random topologies, the same on every run.
	Seed uint64
	// Router makes the routing table of a node. Default kademlia.New.
	Router func(self identity.NodeID) router.Table
	// Register puts behaviours on a node before it runs, and again whenever
	// it restarts.
	Register func(n *Node) error
	// Limits of every node.
	Limits network.Limits
	// Log receives the logs of all nodes. Default: nothing.
	Log *slog.Logger
}

// A Node is one of the network's nodes. After Restart it has a new
// network.Node inside, with the same key and address.
type Node struct {
	*network.Node
	Index int
	Key   identity.PrivateKey
	Table router.Table
	Disk  *Disk // stays when the node restarts

	addr   identity.Address
	cancel context.CancelFunc
	done   chan error

	// In a simulation.
	sim  *Sim
	host *sim.Host
	// In a Sim.
	edges   []int // whom it connects to at the start
	stopped bool  // in good order
	closing bool  // stopping takes its time
}

// Address returns how to reach the node.
func (n *Node) Address() identity.PeerAddress {
	return identity.PeerAddress{ID: n.Key.ID(), Addresses: []identity.Address{n.addr}}
}

// A Net is a running network. Methods may be called from any goroutine, but
// Stop and Restart of one node not at the same time.
type Net struct {
	opts  Options
	mem   *mem.Network
	gate  *gate
	env   func(*Node) env.Env // of a node that starts
	edges []Edge
	ctx   context.Context

	mu    sync.Mutex // guards nodes and their insides
	nodes []*Node
}

// New starts a network for a test, which fails if it cannot, and ends it with
// the test.
func New(t testing.TB, opts Options) *Net {
	t.Helper()
	net, err := Start(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	})
	return net
}

// Start starts a network and returns when every edge of the topology is a
// connection. The caller closes it; it ends with ctx too.
func Start(ctx context.Context, opts Options) (*Net, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 2
	}
	if opts.Nodes < 1 || opts.Nodes > maxNodes {
		return nil, fmt.Errorf("testnet: Options.Nodes is %d, want 1 to %d", opts.Nodes, maxNodes)
	}
	if opts.Transport == "" {
		opts.Transport = "mem"
	}
	if opts.Topology == nil {
		opts.Topology = Line
	}
	if opts.Router == nil {
		opts.Router = func(self identity.NodeID) router.Table { return kademlia.New(self) }
	}
	n := newNet(ctx, opts, func(*Node) env.Env { return env.Real{} })
	rng := rand.New(rand.NewPCG(opts.Seed, 0x706c65787573))
	for i := range opts.Nodes {
		var seed [32]byte
		for j := range seed {
			seed[j] = byte(rng.Uint32())
		}
		key, err := identity.PrivateKeyFromSeed(seed[:])
		if err != nil {
			return nil, err
		}
		n.nodes = append(n.nodes, &Node{Index: i, Key: key, Disk: newDisk()})
	}
	n.edges = opts.Topology(opts.Nodes, rng)
	for _, node := range n.nodes {
		if err := n.start(node); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, n.connect(ctx)
}

// maxNodes is how many nodes a network that is not simulated may have.
const maxNodes = 4096

// newNet makes a network without nodes.
func newNet(ctx context.Context, opts Options, e func(*Node) env.Env) *Net {
	return &Net{opts: opts, mem: mem.NewNetwork(), gate: newGate(), env: e, ctx: ctx}
}

// connect makes the edges.
func (n *Net) connect(ctx context.Context) error {
	for _, e := range n.edges {
		if err := n.nodes[e.From].Add(n.nodes[e.To].Address()); err != nil {
			return errors.Join(err, n.Close())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	err := n.Wait(ctx, func() bool {
		for _, e := range n.edges {
			if !n.Connected(e.From, e.To) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return errors.Join(fmt.Errorf("testnet: the topology did not form: %w", err), n.Close())
	}
	return nil
}

// startTime bounds Start.
const startTime = 60 * time.Second

func (n *Net) transport() (conn.Transport, error) {
	switch n.opts.Transport {
	case "mem":
		return n.mem.Transport(), nil
	case "tcp":
		return tcp.New(), nil
	case "quic":
		return quic.New(), nil
	}
	return nil, fmt.Errorf("testnet: Options.Transport is %q, want mem, tcp or quic", n.opts.Transport)
}

// start makes and runs the inside of a node.
func (n *Net) start(node *Node) error {
	t, err := n.transport()
	if err != nil {
		return err
	}
	table := n.opts.Router(node.Key.ID())
	inner, err := network.New(network.Config{Key: node.Key, Router: table, Limits: n.opts.Limits, Log: n.opts.Log,
		Transports: []conn.Transport{&gatedTransport{t, n.gate, n.env(node)}}})
	if err != nil {
		return err
	}
	n.mu.Lock()
	node.Node, node.Table = inner, table
	n.mu.Unlock()
	if n.opts.Register != nil {
		err = n.opts.Register(node)
	}
	if err == nil {
		err = n.listen(node, inner)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("testnet: node %d: %w", node.Index, err), inner.Close(context.Background()))
	}
	ctx, cancel := context.WithCancel(n.ctx)
	done := make(chan error, 1)
	node.cancel, node.done = cancel, done // from here on it can be stopped
	go func() { done <- inner.Run(ctx) }()
	select {
	case <-inner.Started():
		return nil
	case err := <-done:
		done <- err
		return fmt.Errorf("testnet: node %d: %w", node.Index, err)
	}
}

// listen has the inside of a node listen where the one before it did.
func (n *Net) listen(node *Node, inner *network.Node) (err error) {
	var addr identity.Address
	switch {
	case !node.addr.IsZero():
		_, err = inner.Listen(n.ctx, node.addr.String())
		return err
	case n.opts.Transport == "mem":
		addr, err = inner.Listen(n.ctx, fmt.Sprintf("mem://node%d", node.Index))
	default:
		addr, err = listenAtPort(func(port int) (identity.Address, error) {
			return inner.Listen(n.ctx, fmt.Sprintf("%s://127.0.0.1:%d", n.opts.Transport, port))
		})
	}
	if err == nil {
		node.addr = addr
	}
	return err
}

// Nodes returns all nodes, those that are stopped too.
func (n *Net) Nodes() []*Node { return n.nodes }

// Node returns the node with an index.
func (n *Net) Node(i int) *Node { return n.nodes[i] }

// Connected reports whether node a has an open connection to node b.
func (n *Net) Connected(a, b int) bool {
	n.mu.Lock()
	inner := n.nodes[a].Node
	n.mu.Unlock()
	return connected(inner, n.nodes[b].Key.ID())
}

// connected reports whether a node has an open connection to another.
func connected(n *network.Node, to identity.NodeID) bool {
	return slices.ContainsFunc(n.State().Conns, func(c network.ConnState) bool { return c.Node == to })
}

// Stop stops a node and waits until it has.
func (n *Net) Stop(i int) error {
	node := n.nodes[i]
	node.cancel()
	err := <-node.done
	node.done <- err
	if errors.Is(err, context.Canceled) || errors.Is(err, agent.ErrStopped) {
		return nil
	}
	return err
}

// Restart starts a stopped node again, with the same key and address, and adds
// the edges that began at it.
func (n *Net) Restart(i int) error {
	if err := n.start(n.nodes[i]); err != nil {
		return err
	}
	for _, e := range n.edges {
		if e.From == i {
			if err := n.nodes[i].Add(n.nodes[e.To].Address()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Cut breaks the connections between two nodes and lets them make no others,
// until Heal.
func (n *Net) Cut(a, b int) { n.gate.cut(n.nodes[a].Key.ID(), n.nodes[b].Key.ID()) }

// Heal lets two nodes connect again.
func (n *Net) Heal(a, b int) { n.gate.heal(n.nodes[a].Key.ID(), n.nodes[b].Key.ID()) }

// Close stops all nodes.
func (n *Net) Close() error {
	var group errgroup.Group
	for i, node := range n.nodes {
		if node.done != nil {
			group.Go(func() error { return n.Stop(i) })
		}
	}
	return group.Wait()
}

// Wait returns when cond holds, or with the cause when ctx ends. It asks again
// every few milliseconds.
func (n *Net) Wait(ctx context.Context, cond func() bool) error {
	t := time.NewTicker(askInterval)
	defer t.Stop()
	for !cond() {
		select {
		case <-t.C:
		case <-ctx.Done():
			if cond() {
				return nil
			}
			return context.Cause(ctx)
		}
	}
	return nil
}

const askInterval = 5 * time.Millisecond

// Until is Wait for tests: they fail if cond does not hold within 30 s.
func (n *Net) Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.Wait(ctx, cond); err != nil {
		t.Fatalf("waited in vain until %s: %v", what, err)
	}
}
