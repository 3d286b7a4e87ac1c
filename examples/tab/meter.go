package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

const (
	service    = 70
	kindNumber = conn.Kind(1)
	tick       = 20 * time.Millisecond
	maxBurst   = 1000 // messages that a stream sends at one tick: a tab has one thread
	largest    = 256  // bytes of a message; the smallest has 8, its number
)

// The calls that every node answers.
var (
	Greet  = rpc.NewMethod[struct{}, string]("greet") // says hello
	Visit  = rpc.NewMethod[string, string]("visit")   // greets the node that is named, and tells what it said
	Report = rpc.NewMethod[struct{}, Tally]("report") // tells what has been exchanged with the caller
)

// A Tally is what one end of a connection has sent and received. The sums are the
// SHA-256 of all payloads, one after the other.
type Tally struct {
	Sent, Received, Lost, Repeated uint64
	SentSum, ReceivedSum           string
}

// A Meter exchanges numbered messages with its neighbours, and notes which are lost
// or come twice. It answers calls. Every node has one, in a tab or outside.
type Meter struct {
	rpc.Server
	begin bool   // on connections that this node has dialled; else it answers those who do
	rate  uint64 // messages a second on each connection, each way
	count uint64 // after which a stream ends; 0: never

	agent   atomic.Pointer[agent.Behavior] // nil before the node runs
	tallies map[identity.NodeID]Tally      // of connections that are open
	ended   int                            // connections that are not
}

// NewMeter returns a meter that sends so many messages a second on each connection,
// until it has sent count; 0: without end. One that begins does so when its node
// has dialled; others send when something comes.
func NewMeter(begin bool, rate, count uint64) *Meter {
	m := &Meter{begin: begin, rate: rate, count: count, tallies: map[identity.NodeID]Tally{}}
	Greet.Handle(&m.Server, m.greet)
	Visit.Handle(&m.Server, m.visit)
	Report.HandleWith(&m.Server, rpc.Options{OnTurn: true}, m.report)
	return m
}

func (m *Meter) greet(ctx context.Context, _ struct{}) (string, error) {
	caller, _ := rpc.CallerFrom(ctx)
	return fmt.Sprintf("hello %s, I am %s/%s", caller.Node.Short(), runtime.GOOS, runtime.GOARCH), nil
}

func (m *Meter) visit(ctx context.Context, whom string) (string, error) {
	id, err := identity.ParseNodeID(whom)
	if err != nil {
		return "", err
	}
	return Greet.Call(ctx, &m.Client, router.ToNode(id), struct{}{})
}

func (m *Meter) report(ctx context.Context, _ struct{}) (Tally, error) {
	caller, _ := rpc.CallerFrom(ctx)
	t, ok := m.tallies[caller.Node]
	if !ok {
		return t, fmt.Errorf("there is no connection to %s", caller.Node.Short())
	}
	return t, nil
}

// Describe names the service: nodes with another one under the same number have
// nothing in common with this one.
func (m *Meter) Describe() behavior.Info {
	return behavior.Info{Name: "plexus/example/tab", Tick: tick}
}

// OnStart makes the meter ready for Tallies.
func (m *Meter) OnStart(a *agent.Behavior) error {
	m.agent.Store(a)
	return nil
}

// Tallies returns what has been exchanged over each connection that is open, by the
// node at its other end, and how many have ended. It must not be called from a
// callback.
func (m *Meter) Tallies(ctx context.Context) (open map[identity.NodeID]Tally, ended int, err error) {
	a := m.agent.Load()
	if a == nil {
		return nil, 0, agent.ErrStopped // or has not started
	}
	err = a.Do(ctx, func() { open, ended = maps.Clone(m.tallies), m.ended })
	return open, ended, err
}

// OnConnect has the messages of a connection counted. A durable connection is one,
// however often what carries it breaks.
func (m *Meter) OnConnect(_ *agent.Behavior, c conn.Info) behavior.Handler {
	m.tallies[c.Node] = Tally{}
	return &stream{rate: m.rate, count: m.count, sends: m.begin && c.Direction == conn.Outgoing, in: sha256.New(), out: sha256.New()}
}

// OnEvent takes what a stream has counted.
func (m *Meter) OnEvent(_ *agent.Behavior, from conn.Info, ev any) {
	if t, ok := ev.(Tally); ok {
		m.tallies[from.Node] = t
	}
}

// OnDisconnect is called when a connection has ended for good.
func (m *Meter) OnDisconnect(_ *agent.Behavior, c conn.Info, _ error) {
	delete(m.tallies, c.Node)
	m.ended++
}

// OnMessage ignores messages that were sent to the node and not to a connection.
func (m *Meter) OnMessage(*agent.Behavior, *conn.Message) {}

// A stream is the numbered messages of one connection, both ways.
type stream struct {
	rate, count uint64
	sends       bool
	began       time.Time
	next        uint64 // number to come
	tally       Tally
	in, out     hash.Hash
	told        Tally
}

// OnMessage counts a message. Who is sent something sends, too.
func (s *stream) OnMessage(_ *agent.Handler, m *conn.Message) {
	if m.Kind != kindNumber || len(m.Payload) < 8 {
		return
	}
	s.sends = true
	s.tally.Received++
	s.in.Write(m.Payload)
	switch number := binary.BigEndian.Uint64(m.Payload); {
	case number < s.next:
		s.tally.Repeated++
	default:
		s.tally.Lost += number - s.next
		s.next = number + 1
	}
}

// OnTick sends what is due, as far as the other end keeps up, and tells the meter.
func (s *stream) OnTick(a *agent.Handler, now time.Time) {
	if s.sends && s.began.IsZero() {
		s.began = now
	}
	for due := s.due(now); s.tally.Sent < due; s.tally.Sent++ {
		p := payload(a.Self(), s.tally.Sent)
		if a.Send(router.ToConn(a.Info().ID), kindNumber, p) != nil {
			break // it is due at the next tick, too
		}
		s.out.Write(p)
	}
	if s.tally != s.told {
		s.told = s.tally
		t := s.tally
		t.SentSum, t.ReceivedSum = hex.EncodeToString(s.out.Sum(nil)), hex.EncodeToString(s.in.Sum(nil))
		if a.Tell(t) != nil {
			s.told = Tally{} // again at the next tick
		}
	}
}

// due returns how many messages should have been sent by now.
func (s *stream) due(now time.Time) uint64 {
	if !s.sends {
		return 0
	}
	due := uint64(now.Sub(s.began).Seconds() * float64(s.rate))
	if s.count > 0 {
		due = min(due, s.count)
	}
	return min(due, s.tally.Sent+maxBurst)
}

// payload returns a message of a node: its number, and what follows from both.
func payload(from identity.NodeID, number uint64) []byte {
	x := binary.BigEndian.Uint64(from[:]) + number
	p := binary.BigEndian.AppendUint64(make([]byte, 0, largest), number)
	for size := int(x % (largest - 8)); len(p) < 8+size; {
		x = x*6364136223846793005 + 1442695040888963407
		p = append(p, byte(x>>56))
	}
	return p
}
