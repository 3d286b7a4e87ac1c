// Command rpc calls a typed method of a service on another node, over QUIC on
// the loopback interface.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/kademlia"
	"github.com/plexus-net/plexus/rpc"
)

// What both sides share: the service, the types and the method.
const calcService = 70

type (
	// DivideRequest asks for A / B.
	DivideRequest struct{ A, B int }
	// DivideReply is the answer.
	DivideReply struct{ Quotient, Remainder int }
)

// Divide divides integers.
var Divide = rpc.NewMethod[DivideRequest, DivideReply]("divide")

// Calc is the server: a behaviour that embeds an rpc.Server.
type Calc struct{ rpc.Server }

// NewCalc returns a Calc that serves Divide.
func NewCalc() *Calc {
	c := &Calc{}
	Divide.Handle(&c.Server, func(ctx context.Context, r DivideRequest) (DivideReply, error) {
		if r.B == 0 {
			return DivideReply{}, errors.New("division by zero")
		}
		return DivideReply{r.A / r.B, r.A % r.B}, nil
	})
	return c
}

// ask is the client: whoever serves calcService, wherever it is.
func ask(ctx context.Context, client *rpc.Client, out io.Writer, a, b int) {
	r, err := Divide.Call(ctx, client, router.ToService(calcService), DivideRequest{a, b})
	if err != nil {
		fmt.Fprintf(out, "%d / %d: %v\n", a, b, err)
		return
	}
	fmt.Fprintf(out, "%d / %d = %d, remainder %d\n", a, b, r.Quotient, r.Remainder)
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rpc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	start := func(id identity.ServiceID, b behavior.Behavior) (*network.Node, error) {
		key, err := identity.Generate()
		if err != nil {
			return nil, err
		}
		node, err := network.New(network.Config{Key: key, Router: kademlia.New(key.ID()), Transports: []conn.Transport{quic.New()}})
		if err != nil {
			return nil, err
		}
		if err := node.Register(id, b); err != nil {
			return nil, err
		}
		running.Go(func() { _ = node.Run(ctx) }) // its result is why it ended: because of stop
		return node, nil
	}
	server, err := start(calcService, NewCalc())
	if err != nil {
		return err
	}
	client := rpc.NewClient()
	caller, err := start(90, client)
	if err != nil {
		return err
	}
	addr, err := server.Listen(ctx, "quic://127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := caller.Connect(ctx, identity.PeerAddress{ID: server.Self(), Addresses: []identity.Address{addr}}); err != nil {
		return err
	}
	ask(ctx, client, out, 17, 5)
	ask(ctx, client, out, 1, 0)
	return nil
}
