package behavior_test

import (
	"fmt"
	"slices"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// Hello greets every neighbour and remembers who answered. Callbacks run one at
// a time: no locks.
type Hello struct{ heard []string }

// Greet is a kind of message of this service, shared by both ends.
const Greet = behavior.Message[string](1)

// OnConnect is optional: it is found by its name and signature.
func (h *Hello) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	if err := Greet.Send(a, router.ToConn(c.ID), "hello from "+a.Self().Short()); err != nil {
		a.Log().Info("not greeted", "conn", c.ID, "err", err)
	}
	return nil // no handler on this connection: messages come to OnMessage
}

// OnMessage is the only callback that a behaviour must have.
func (h *Hello) OnMessage(_ *agent.Behavior, m *conn.Message) {
	const most = 100 // what a remote can grow has a bound
	if text, err := Greet.Decode(m); err == nil && len(h.heard) < most {
		h.heard = append(h.heard, text)
	}
}

// A whole behaviour, and how to test it without a network: what one node sends is
// carried to another by hand.
func Example() {
	alice := agenttest.New(agenttest.Config{Self: agenttest.Node("alice")})
	bob := agenttest.New(agenttest.Config{Self: agenttest.Node("bob")})
	toBob := alice.Connect(conn.Info{Node: agenttest.Node("bob")})
	toAlice := bob.Connect(conn.Info{Node: agenttest.Node("alice")})

	var here, there Hello
	here.OnConnect(alice.Behavior(), toBob)
	for _, call := range alice.TakeCalls() {
		fmt.Println(call)
		there.OnMessage(bob.Behavior(), bob.Message(toAlice, call.Message.Kind, call.Message.Payload))
	}
	fmt.Println(there.heard)
	// Output:
	// send conn:1 kind=1 "hello from alice222"
	// [hello from alice222]
}

// A kind of message carries one type, which the compiler checks on both ends:
//
//	Move.Send(a, to, "e4") // does not compile: cannot use "e4" as move value
func ExampleMessage() {
	type move struct{ From, To string }
	const Move = behavior.Message[move](7)

	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{})
	if err := Move.Send(rec.Behavior(), router.ToConn(c.ID), move{"e2", "e4"}); err != nil {
		fmt.Println(err)
	}
	sent := rec.TakeCalls()[0].Message
	got, err := Move.Decode(rec.Message(c, sent.Kind, sent.Payload)) // got is a move
	fmt.Println(got.To, err)
	// Output: e4 <nil>
}

// Board hands each kind of message to a method of its own: Mux is its OnMessage.
type Board struct {
	behavior.Mux
	moves []string
}

// The kinds of messages of a Board.
const (
	Play   = behavior.Message[string](1)
	Resign = behavior.Message[struct{}](2)
)

// NewBoard makes a Board.
func NewBoard() *Board {
	b := &Board{}
	behavior.On(&b.Mux, Play, b.play)
	behavior.On(&b.Mux, Resign, func(*agent.Behavior, *conn.Message, struct{}) { b.moves = nil })
	return b
}

func (b *Board) play(_ *agent.Behavior, _ *conn.Message, move string) {
	b.moves = append(b.moves, move)
}

// A behaviour of several kinds of messages.
func ExampleMux() {
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{})
	b := NewBoard()
	b.Bad = func(_ *agent.Behavior, m *conn.Message, err error) {
		fmt.Println("bad message of kind", m.Kind, err == nil)
	}
	b.OnMessage(rec.Behavior(), rec.Message(c, Play.Kind(), []byte("e4")))
	b.OnMessage(rec.Behavior(), rec.Message(c, 99, nil))
	fmt.Println(slices.Clone(b.moves))
	// Output:
	// bad message of kind 99 true
	// [e4]
}

// Typo has a callback that would silently never run.
type Typo struct{ Hello }

// OnDisconect is misspelt.
func (*Typo) OnDisconect(*agent.Behavior, conn.Info, error) {}

// Registration refuses callbacks that would silently never run.
func ExampleCheck() {
	fmt.Println(behavior.Check(&Typo{}))
	// Output: behavior: *behavior_test.Typo.OnDisconect is not a callback and would never run; rename it
}
