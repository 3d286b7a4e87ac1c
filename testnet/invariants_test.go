package testnet_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/kademlia"
	"github.com/plexus-net/plexus/router/static"
	"github.com/plexus-net/plexus/testnet"
)

// event makes a call as the runtime notes it.
func event(id uint64, name string, service identity.ServiceID, id2 identity.ConnID) *testnet.Event {
	return &testnet.Event{ID: id, Kind: testnet.EventCall, Node: 0, Peer: 1, Name: name, Service: service, Conn: id2, Message: 1}
}

// TestPaired tells the invariant of callbacks that the runtime would not make.
func TestPaired(t *testing.T) {
	for _, tt := range []struct{ name, calls, want string }{
		{"a pair", "OnConnect OnMessage OnEvent OnDisconnect", ""},
		{"a handler", "OnConnect OnOpen OnMessage OnClose OnDisconnect", ""},
		{"again, as when a service comes back", "OnConnect OnDisconnect OnConnect OnDisconnect", ""},
		{"no OnConnect", "OnMessage", ""},
		{"connected twice", "OnConnect OnConnect", "OnConnect of service 7 on connection 9: a second one without OnDisconnect"},
		{"disconnected twice", "OnConnect OnDisconnect OnDisconnect", "a second one"},
		{"never connected", "OnDisconnect", "there was no OnConnect"},
		{"a message too late", "OnConnect OnDisconnect OnMessage", "OnMessage of service 7 on connection 9: it comes after OnDisconnect"},
		{"an event too late", "OnConnect OnDisconnect OnEvent", "the behaviour is not connected"},
		{"opened before", "OnOpen", "the behaviour is not connected"},
		{"opened twice", "OnConnect OnOpen OnOpen", "a second one"},
		{"closed twice", "OnConnect OnOpen OnClose OnClose", "a second one"},
		{"opened after it was closed", "OnConnect OnClose OnOpen", "it comes after OnClose"},
		{"closed too late", "OnConnect OnOpen OnDisconnect OnClose", "the behaviour is not connected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := testnet.Simulate(t, 1, testnet.Scenario{Nodes: 2})
			w := testnet.Paired().Begin(s)
			var err error
			for i, name := range strings.Fields(tt.calls) {
				err = errors.Join(err, w.Event(event(uint64(i+1), name, 7, 9)))
			}
			matches(t, err, tt.want)
		})
	}
}

// matches fails a test if an error is none, or another, where it should be.
func matches(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestPairedMessageFirst lets a message come before OnConnect.
func TestPairedMessageFirst(t *testing.T) {
	s := testnet.Simulate(t, 1, testnet.Scenario{Nodes: 2, Topology: testnet.Line, Register: func(n *testnet.Node) error { return n.Register(7, newPinger()) }})
	w := testnet.Paired().Begin(s)
	id := s.Node(0).State().Conns[0].ID
	matches(t, w.Event(event(1, "OnMessage", 7, id)), "")
	matches(t, w.Event(event(2, "OnConnect", 7, id)), "the message of event 1 came before it")
}

// TestPairedNotTold has connections end of which nobody is told.
func TestPairedNotTold(t *testing.T) {
	s := testnet.Simulate(t, 1, testnet.Scenario{Nodes: 2, Always: []testnet.Invariant{testnet.Paired()}})
	w := testnet.Paired().Begin(s)
	for i, name := range []string{"OnConnect", "OnDisconnect", "OnConnect"} { // of connections that the node does not have
		if err := w.Event(event(uint64(i+1), name, 7, identity.ConnID(9+i/2))); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for range 15 {
		s.Sleep(time.Second)
		err = errors.Join(err, w.Check())
	}
	matches(t, err, "connection 10, to node 1, has ended, and service 7 was not told OnDisconnect")
	fault := func(name string) error {
		return w.Event(&testnet.Event{Kind: testnet.EventFault, Node: 0, Peer: -1, Name: name})
	}
	matches(t, fault("restart"), "node 0 has stopped, and service 7 was not told OnDisconnect of connection 10")
	if err := w.Event(event(9, "OnConnect", 7, 10)); err != nil {
		t.Errorf("after a restart connections have the same IDs again: %v", err)
	}
	matches(t, fault("crash"), "")
	matches(t, fault("restart"), "")
}

// A circle is a table that sends what is not for a neighbour to the neighbour
// with the next ID, and from the last one to the first.
type circle struct {
	*kademlia.Table
	self  identity.NodeID
	links map[identity.NodeID]identity.ConnID
}

func newCircle(self identity.NodeID) router.Table {
	return &circle{kademlia.New(self), self, make(map[identity.NodeID]identity.ConnID)}
}

func (c *circle) AddLink(l router.Link) {
	c.links[l.Node] = l.Conn
	c.Table.AddLink(l)
}

func (c *circle) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	if c.links[dest] != 0 || dest == c.self {
		return c.Table.PathToNode(dest, in)
	}
	var least, next identity.NodeID
	for id := range c.links {
		if least.IsZero() || id.Compare(least) < 0 {
			least = id
		}
		if id.Compare(c.self) > 0 && (next.IsZero() || id.Compare(next) < 0) {
			next = id
		}
	}
	if next.IsZero() {
		next = least
	}
	return router.Forward(c.links[next])
}

// three connects the first three nodes to each other.
func three(int, *rand.Rand) []testnet.Edge {
	return []testnet.Edge{{From: 0, To: 1}, {From: 1, To: 2}, {From: 2, To: 0}}
}

func TestRoutes(t *testing.T) {
	always, eventually := testnet.Standard()
	for _, tt := range []struct {
		name     string
		scenario testnet.Scenario
		want     string
	}{
		{"mesh", testnet.Scenario{Nodes: 8, Topology: testnet.Mesh, Eventually: append(always[4:5:5], eventually...)}, ""},
		{"large mesh", testnet.Scenario{Nodes: 30, Topology: testnet.Mesh, Eventually: append(always[4:5:5], eventually...)}, ""},
		{"line", testnet.Scenario{Nodes: 8, Topology: testnet.Line, Eventually: []testnet.Invariant{testnet.Reachable()}}, "no way on"},
		{"owners of a line", testnet.Scenario{Nodes: 8, Topology: testnet.Line, Eventually: []testnet.Invariant{testnet.OneOwner()}}, "is closer"},
		{"nobody knows anybody", testnet.Scenario{Nodes: 3, Topology: testnet.Mesh, Eventually: []testnet.Invariant{testnet.Reachable()},
			Router: func(identity.NodeID) router.Table { return static.Local() }}, "it ends elsewhere"},
		{"circle", testnet.Scenario{Nodes: 4, Topology: three, Router: newCircle, Always: []testnet.Invariant{testnet.LoopFree()}}, "the way is a loop"},
		{"circle without an outsider", testnet.Scenario{Nodes: 3, Topology: three, Router: newCircle, Always: []testnet.Invariant{testnet.LoopFree()}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testnet.Run(1, tt.scenario, nil)
			matches(t, err, tt.want)
		})
	}
}

func TestNoPanics(t *testing.T) {
	_, err := testnet.Run(1, testnet.Scenario{Always: []testnet.Invariant{testnet.NoPanics()}, Topology: testnet.Line,
		Register: func(n *testnet.Node) error {
			return n.Register(7, behavior.Func(func(*agent.Behavior, *conn.Message) { panic("on purpose") }))
		},
		Drive: func(s *testnet.Sim) error {
			return errors.Join(s.Node(0).Register(9, poker{}), s.Node(1).Register(9, poker{}))
		}}, nil)
	matches(t, err, "node 0 counts 1 panics")
}

// poker sends a message to service 7 of every node that connects.
type poker struct{}

func (poker) OnMessage(*agent.Behavior, *conn.Message) {}

func (poker) OnTick(a *agent.Behavior, _ time.Time) {
	for _, c := range a.Conns() {
		_ = a.Send(router.ToNode(c.Node).At(7), 1, nil) // it may be gone
	}
}

func (poker) Describe() behavior.Info { return behavior.Info{Tick: time.Second} }

// TestBounded has more messages wait for a behaviour than it is said to allow.
func TestBounded(t *testing.T) {
	c := &counter{}
	s := testnet.Simulate(t, 1, testnet.Scenario{Nodes: 1, Register: func(n *testnet.Node) error { return n.Register(7, c) }})
	s.Sleep(time.Millisecond)
	for range 10 {
		if err := c.a.Load().Send(router.ToNode(s.Node(0).Self()), 1, nil); err != nil { // it is taken in when time passes
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		queue int
		want  string
	}{{0, ""}, {10, ""}, {9, "10 events and messages wait for service 7, at most 9 are allowed"}} {
		matches(t, testnet.Bounded(tt.queue, 0).Begin(s).Check(), tt.want)
	}
}

// TestNoLeaks has connections end in ways of which one end is not told.
func TestNoLeaks(t *testing.T) {
	at := testnet.At
	for _, tt := range []struct {
		name   string
		script []testnet.Step
	}{
		{"a crash", []testnet.Step{at(time.Second, testnet.Crash(1))}},
		{"a partition", []testnet.Step{at(time.Second, testnet.Partition(0, 1))}},
		{"one way", []testnet.Step{at(time.Second, testnet.OneWay(0, 1))}},
		{"a pause", []testnet.Step{at(time.Second, testnet.Pause(1, 40*time.Second))}},
		{"a crash behind a partition", []testnet.Step{at(time.Second, testnet.Partition(0, 1)), at(8*time.Second, testnet.Crash(1)), at(14*time.Second, testnet.Heal(0, 1))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testnet.Run(1, testnet.Scenario{Nodes: 2, Topology: testnet.Line, Script: tt.script, For: 2 * time.Minute, Always: []testnet.Invariant{testnet.NoLeaks()}}, nil)
			matches(t, err, "")
		})
	}
}

// TestCrashWhileDialling has a node begin anew that has crashed with a dial on
// its way: the connection is not its own any more.
func TestCrashWhileDialling(t *testing.T) {
	_, err := testnet.Run(1, testnet.Scenario{Nodes: 2, Link: testnet.Link{Latency: testnet.Fixed(50 * time.Millisecond)}, Always: []testnet.Invariant{testnet.NoLeaks()},
		Drive: func(s *testnet.Sim) error {
			s.Go(func() { _, _ = s.Node(0).Connect(s.Context(), s.Node(1).Address()) }) // it never returns
			s.Sleep(20 * time.Millisecond)
			s.Crash(0)
			s.Sleep(10 * time.Second)
			return s.Restart(0)
		}}, nil)
	matches(t, err, "")
}

// TestOrderAfterHeal has what was on its way when a partition ended overtake
// nothing that the partition had held back.
func TestOrderAfterHeal(t *testing.T) {
	traffic := testnet.NewTraffic(testnet.TrafficConfig{Interval: 20 * time.Millisecond})
	var script []testnet.Step
	for at := time.Second; at < 20*time.Second; at += time.Second {
		script = append(script, testnet.At(at, testnet.Partition(0, 1)), testnet.At(at+300*time.Millisecond, testnet.Heal(0, 1)))
	}
	_, err := testnet.Run(1, testnet.Scenario{Nodes: 2, Topology: testnet.Line, For: 25 * time.Second, Script: script, Always: []testnet.Invariant{traffic.Delivered()},
		Link:     testnet.Link{Latency: testnet.Uniform(5*time.Millisecond, 150*time.Millisecond)},
		Register: func(n *testnet.Node) error { return traffic.Register(n, 71) }}, nil)
	matches(t, err, "")
}
