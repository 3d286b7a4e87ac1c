// Command table routes messages with a table of its own: see ring.go. Eight nodes
// are connected in a circle, and the first sends a message to each of the others;
// then once more, with a connection right across the circle.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

const (
	size    = 8
	service = 70
	hop     = behavior.Message[string](1)
)

// A member is a node of the circle, with its one behaviour.
type member struct {
	node  *network.Node
	addr  identity.Address
	agent chan *agent.Behavior // holds the agent once the node runs
	open  chan conn.Info       // connections that have opened
	hops  chan uint8           // connections that a message has crossed
}

func (m *member) OnStart(a *agent.Behavior) error {
	m.agent <- a
	return nil
}

func (m *member) OnConnect(_ *agent.Behavior, c conn.Info) behavior.Handler {
	m.open <- c // has room for all there are
	return nil
}

func (m *member) OnMessage(_ *agent.Behavior, msg *conn.Message) {
	select {
	case m.hops <- msg.Hops:
	default: // callbacks must not block
	}
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	lan := mem.NewNetwork()
	var circle []*member
	for i := range size {
		m, err := join(ctx, lan, i)
		if err != nil {
			return err
		}
		running.Go(func() { _ = m.node.Run(ctx) }) // its result is why it ended: because of stop
		circle = append(circle, m)
	}
	slices.SortFunc(circle, func(a, b *member) int {
		x, y := a.node.Self().Key(), b.node.Self().Key()
		return slices.Compare(x[:], y[:])
	})
	for i, m := range circle {
		if err := m.connect(ctx, circle[(i+1)%size]); err != nil {
			return err
		}
	}
	var from *agent.Behavior
	select {
	case from = <-circle[0].agent:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := visit(ctx, from, circle, out); err != nil {
		return err
	}
	if err := circle[0].connect(ctx, circle[size/2]); err != nil {
		return err
	}
	fmt.Fprintf(out, "with a connection from node 0 to node %d:\n", size/2)
	return visit(ctx, from, circle, out)
}

// join makes a node that routes by the circle.
func join(ctx context.Context, lan *mem.Network, i int) (*member, error) {
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	m := &member{agent: make(chan *agent.Behavior, 1), open: make(chan conn.Info, size), hops: make(chan uint8, 1)}
	m.node, err = network.New(network.Config{Key: key, Router: NewRing(key.ID()), Transports: []conn.Transport{lan.Transport()}})
	if err != nil {
		return nil, err
	}
	if err := m.node.Register(service, m); err != nil {
		return nil, err
	}
	m.addr, err = m.node.Listen(ctx, fmt.Sprint("mem://", i))
	return m, err
}

// connect connects to another member, and waits until both ends know.
func (m *member) connect(ctx context.Context, to *member) error {
	if _, err := m.node.Connect(ctx, identity.PeerAddress{ID: to.node.Self(), Addresses: []identity.Address{to.addr}}); err != nil {
		return err
	}
	for _, end := range []*member{m, to} {
		select {
		case <-end.open:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// visit sends a message to every node but the first.
func visit(ctx context.Context, from *agent.Behavior, circle []*member, out io.Writer) error {
	for i, m := range circle[1:] {
		if err := hop.Send(from, router.ToNode(m.node.Self()), "how far is it?"); err != nil {
			return err
		}
		select {
		case n := <-m.hops:
			fmt.Fprintf(out, "node 0 to node %d: %d hops\n", i+1, n)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
