package rpc_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// Both sides share the contract.

type DivRequest struct{ A, B int }

type DivReply struct{ Quotient int }

var Div = rpc.NewMethod[DivRequest, DivReply]("div")

// Calc serves it, and is a behaviour with nothing else.
type Calc struct{ rpc.Server }

func NewCalc() *Calc {
	c := &Calc{}
	Div.Handle(&c.Server, func(_ context.Context, r DivRequest) (DivReply, error) {
		if r.B == 0 {
			return DivReply{}, errors.New("division by zero")
		}
		return DivReply{r.A / r.B}, nil
	})
	return c
}

func Example() {
	client := rpc.NewClient()
	defer start(map[identity.ServiceID]behavior.Behavior{90: client}, map[identity.ServiceID]behavior.Behavior{70: NewCalc()})()

	reply, err := Div.Call(context.Background(), client, router.ToService(70), DivRequest{6, 3})
	fmt.Println(reply.Quotient, err)
	_, err = Div.Call(context.Background(), client, router.ToService(70), DivRequest{1, 0})
	fmt.Println(errors.Is(err, rpc.Remote), err)
	_, err = Div.Call(context.Background(), client, router.ToService(71), DivRequest{1, 1})
	fmt.Println(errors.Is(err, rpc.NoService))
	// Output:
	// 2 <nil>
	// true rpc: call of div: remote error at node mjxweaaa: division by zero
	// true
}

// start runs two connected nodes; a program does it with package network.
func start(alice, bob map[identity.ServiceID]behavior.Behavior) (stop func()) {
	f := &fabric{nodes: make(map[identity.NodeID]*node)}
	a, b := f.node("alice"), f.node("bob")
	for id, behaviour := range alice {
		a.serve(id, behaviour)
	}
	for id, behaviour := range bob {
		b.serve(id, behaviour)
	}
	f.connect(a, b)
	return f.close
}
