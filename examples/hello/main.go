// Command hello runs two nodes in one process that greet each other, and ends
// when both have been greeted.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/kademlia"
)

// Greet is the one kind of message that Hello knows; both ends share it.
const Greet = behavior.Message[string](1)

// Hello greets every neighbour and passes on what it hears. Callbacks run one at
// a time: no locks.
type Hello struct{ heard chan string }

// OnConnect is called for every connection to a node that has a Hello, too.
func (h *Hello) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	if err := Greet.Send(a, router.ToConn(c.ID), "hello from "+a.Self().Short()); err != nil {
		a.Log().Warn("not greeted", "node", c.Node, "err", err)
	}
	return nil // no handler on this connection: messages come to OnMessage
}

// OnMessage is called with what neighbours send.
func (h *Hello) OnMessage(a *agent.Behavior, m *conn.Message) {
	text, err := Greet.Decode(m)
	if err != nil {
		return // whoever sent it is not one of us
	}
	select {
	case h.heard <- text:
	default: // callbacks must not block
	}
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	lan := mem.NewNetwork()
	start := func(h *Hello) (*network.Node, error) {
		key, err := identity.Generate()
		if err != nil {
			return nil, err
		}
		node, err := network.New(network.Config{Key: key, Router: kademlia.New(key.ID()), Transports: []conn.Transport{lan.Transport()}})
		if err != nil {
			return nil, err
		}
		running.Go(func() { _ = node.Run(ctx) }) // its result is why it ended: because of stop
		return node, node.Register(70, h)
	}
	alice, bob := &Hello{make(chan string, 1)}, &Hello{make(chan string, 1)}
	first, err := start(alice)
	if err != nil {
		return err
	}
	second, err := start(bob)
	if err != nil {
		return err
	}
	addr, err := first.Listen(ctx, "mem://alice")
	if err != nil {
		return err
	}
	if _, err := second.Connect(ctx, identity.PeerAddress{ID: first.Self(), Addresses: []identity.Address{addr}}); err != nil {
		return err
	}
	for _, h := range []*Hello{alice, bob} {
		select {
		case text := <-h.heard:
			fmt.Fprintln(out, text)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
