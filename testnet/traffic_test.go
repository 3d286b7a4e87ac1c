package testnet

import (
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/rpc"
)

// TestTraffic has traffic flow over good and bad links.
func TestTraffic(t *testing.T) {
	for _, tt := range []struct {
		name string
		link Link
	}{
		{"good", Link{}},
		{"lossy", Link{Latency: Uniform(time.Millisecond, 50*time.Millisecond), Loss: 0.2, Duplicate: 0.2, Reorder: 0.2}},
		{"narrow", Link{Rate: 1e6, Queue: 8 << 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			traffic := NewTraffic(TrafficConfig{})
			always, eventually := Standard(traffic)
			var stats TrafficStats
			_, err := Run(1, Scenario{Nodes: 5, Topology: Mesh, Link: tt.link, Always: always, For: 30 * time.Second,
				Register: func(n *Node) error { return traffic.Register(n, 71) },
				Eventually: append(eventually, Holds("stats", func(s *Sim) error {
					stats = traffic.Stats(s)
					return nil
				}))}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", stats)
			if stats.Sent < 4000 || stats.Received < stats.Sent*9/10 || stats.Calls < 500 || stats.Answered < stats.Calls*9/10 || stats.Answered+stats.Failed > stats.Calls {
				t.Errorf("too little has been sent, received or answered: %+v", stats)
			}
		})
	}
}

// TestTrafficMeets has nodes dial each other at the same moment.
func TestTrafficMeets(t *testing.T) {
	traffic := NewTraffic(TrafficConfig{Meet: time.Second})
	always, eventually := Standard(traffic)
	s := Simulate(t, 1, Scenario{Nodes: 10, Always: always, Eventually: eventually, Register: func(n *Node) error { return traffic.Register(n, 71) }})
	if err := s.Until(2*time.Minute, "all nodes have met", func() bool {
		for i := range s.Nodes() {
			if len(s.Node(i).State().Conns) != 9 {
				return false
			}
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if met := traffic.Stats(s).Met; met < 90 {
		t.Errorf("%d dials, want two for each of 45 pairs at least", met)
	}
}

// A tamper does something to a message in place of its delivery.
type tamper func(x *tamperer, m *conn.Message, deliver func(*conn.Message))

// A tamperer stands between the runtime and the behaviour of a Traffic: what it
// does to a message is the runtime's fault, for all that the Traffic knows.
type tamperer struct {
	behavior.Behavior
	do   tamper
	kind conn.Kind
	seen int // messages of the kind
	held *conn.Message
}

func (x *tamperer) Unwrap() behavior.Behavior { return x.Behavior }

// OnConnect lets no handler take messages.
func (x *tamperer) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	x.Behavior.(behavior.Connector).OnConnect(a, c)
	return nil
}

// OnMessage tampers with the tenth message of the kind, and those after it.
func (x *tamperer) OnMessage(a *agent.Behavior, m *conn.Message) {
	deliver := func(m *conn.Message) { x.Behavior.OnMessage(a, m) }
	if m.Kind == x.kind && m.Hops > 0 {
		x.seen++
	}
	if m.Kind == x.kind && m.Hops > 0 && x.seen >= 10 {
		x.do(x, m, deliver)
	} else {
		deliver(m)
	}
}

func twice(_ *tamperer, m *conn.Message, deliver func(*conn.Message)) { deliver(m); deliver(m) }

func never(*tamperer, *conn.Message, func(*conn.Message)) {}

// swapped delivers every other message after the one that follows it.
func swapped(x *tamperer, m *conn.Message, deliver func(*conn.Message)) {
	if x.held == nil {
		kept := *m
		kept.Payload = append([]byte(nil), m.Payload...)
		x.held = &kept
		return
	}
	deliver(m)
	deliver(x.held)
	x.held = nil
}

func changed(at int) tamper {
	return func(_ *tamperer, m *conn.Message, deliver func(*conn.Message)) {
		m.Payload = append([]byte(nil), m.Payload...)
		m.Payload[at]++
		deliver(m)
	}
}

// readdressed has everything be for another node, and look as if it was sent so.
func readdressed(_ *tamperer, m *conn.Message, deliver func(*conn.Message)) {
	m.Payload = append([]byte(nil), m.Payload...)
	m.Payload[27]++
	fill(m.Payload)
	deliver(m)
}

// TestDelivered breaks what is promised of messages, on their last inch.
func TestDelivered(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind conn.Kind
		do   tamper
		want string
	}{
		{"nothing", 0, never, ""},
		{"twice to a handler", kindConn, twice, "to the handler arrives a second time"},
		{"twice to a behaviour", kindPeer, twice, "to the behaviour arrives a second time"},
		{"twice to a node", kindNode, twice, "arrives a second time"},
		{"twice to a key", kindKey, twice, "arrives a second time"},
		{"a datagram twice", kindLoose, twice, ""},
		{"out of order to a handler", kindConn, swapped, "what was between is lost, or late"},
		{"out of order to a behaviour", kindPeer, swapped, "what was between is lost, or late"},
		{"out of order to a node", kindNode, swapped, ""},
		{"datagrams out of order", kindLoose, swapped, ""},
		{"lost to a handler", kindConn, never, "was sent 15"},
		{"lost to a node", kindNode, never, ""},
		{"datagrams lost", kindLoose, never, ""},
		{"other content", kindNode, changed(payloadHeader), "is not what was sent"},
		{"another sender", kindLoose, changed(3), "is not what was sent"},
		{"another node", kindNode, readdressed, "is for node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			traffic := NewTraffic(TrafficConfig{})
			_, err := Run(1, Scenario{Nodes: 2, Topology: Line, Always: []Invariant{traffic.Delivered()},
				Register: func(n *Node) error {
					return n.Register(71, &tamperer{Behavior: traffic.life(n), do: tt.do, kind: tt.kind})
				}}, nil)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestAnswered breaks what is promised of calls.
func TestAnswered(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(l *trafficLife, req call)
		want string
	}{
		{"ends twice", func(l *trafficLife, req call) {
			l.ended(req, call{}, rpc.Timeout)
			l.ended(req, call{}, rpc.Timeout)
		}, "has ended twice"},
		{"another's answer", func(l *trafficLife, req call) {
			other := req
			other.Number++
			other.Answer = other.answer()
			l.ended(req, other, nil)
		}, "has the answer to another"},
		{"served twice", func(l *trafficLife, req call) {
			for range 2 {
				_, _ = l.serve(t.Context(), req) // it does not fail
			}
			l.ended(req, call{}, rpc.Timeout)
		}, "is served a second time"},
		{"never ends", func(*trafficLife, call) {}, "has not ended; it has 5s"},
		{"never ends, and the node is stopped", func(l *trafficLife, _ call) {
			s := l.run.s
			s.Go(func() {
				_ = s.Stop(0)
				_ = s.Restart(0) // what they return is not what is tested
			})
		}, "has stopped, and its call 1048576 has not ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			traffic := NewTraffic(TrafficConfig{})
			_, err := Run(1, Scenario{Nodes: 2, Topology: Line, Always: []Invariant{traffic.Answered()},
				Register: func(n *Node) error { return traffic.Register(n, 71) },
				Drive: func(s *Sim) error {
					l := s.trafficOf(traffic).present(0)
					req := call{Number: 1 << 20}
					l.calls[req.Number] = s.Now()
					tt.end(l, req)
					return nil
				}}, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestDialled has dials fail, with and without a reason.
func TestDialled(t *testing.T) {
	for _, tt := range []struct {
		name    string
		step    Fault
		refuses bool
		want    string
	}{
		{"no reason", Fault{}, false, "node 0 has dialled node 1 in vain, though nothing was between them"},
		{"refused", Fault{}, true, ""},
		{"a partition", Partition(0, 1), false, ""},
		{"a crash", Crash(1), false, ""},
		{"a pause", Pause(1, time.Second), false, ""},
		{"slow", Slow(1, time.Millisecond), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var script []Step
			if tt.step.do != nil {
				script = append(script, At(35*time.Second, tt.step))
			}
			traffic := NewTraffic(TrafficConfig{})
			_, err := Run(1, Scenario{Nodes: 2, For: time.Minute, Always: []Invariant{traffic.Dialled()}, Script: script,
				Register: func(n *Node) error { return traffic.Register(n, 71) },
				Drive: func(s *Sim) error {
					s.Sleep(45 * time.Second)
					cause := &conn.CloseError{Code: conn.CodeTimeout}
					if tt.refuses {
						cause.Code = conn.CodeRejected
					}
					s.trafficOf(traffic).present(0).OnDialError(nil, conn.Dial{Peer: s.Node(1).Address()}, cause)
					return nil
				}}, nil)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestTrafficOutside registers a Traffic where nobody sees what becomes of it.
func TestTrafficOutside(t *testing.T) {
	net := New(t, Options{Nodes: 1})
	if err := NewTraffic(TrafficConfig{}).Register(net.Node(0), 71); err == nil {
		t.Error("Traffic is registered on a node outside of simulations")
	}
}
