package agenttest_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// The kinds of messages and the events of Watch.
const (
	kindPing conn.Kind = 1
	kindPong conn.Kind = 2
)

type (
	probe    struct{}                 // time to ping again
	deadline struct{ Conn conn.Info } // a pong is overdue
)

// Watch pings its neighbours, and closes connections that do not answer.
type Watch struct {
	waiting map[conn.Info]agent.Timer
}

func (w *Watch) OnStart(a *agent.Behavior) error {
	w.waiting = make(map[conn.Info]agent.Timer)
	a.After(10*time.Second, probe{})
	return nil
}

func (w *Watch) OnMessage(a *agent.Behavior, m *conn.Message) {
	switch m.Kind {
	case kindPing:
		if err := a.Send(router.ToConn(m.Conn), kindPong, m.Payload); err != nil {
			a.Close(m.Conn, fmt.Errorf("cannot answer: %w", err))
		}
	case kindPong:
		for c, timer := range w.waiting {
			if c.ID == m.Conn {
				timer.Stop()
				delete(w.waiting, c)
			}
		}
	}
}

func (w *Watch) OnEvent(a *agent.Behavior, _ conn.Info, ev any) {
	switch ev := ev.(type) {
	case probe:
		for _, c := range a.Conns() {
			if a.Send(router.ToConn(c.ID), kindPing, nil) == nil {
				w.waiting[c] = a.After(time.Second, deadline{c})
			}
		}
		a.After(10*time.Second, probe{})
	case deadline:
		a.Close(ev.Conn.ID, errors.New("no pong"))
	}
}

// A behaviour that lives on timers: Advance delivers them, each at its time.
func Example() {
	rec := agenttest.New(agenttest.Config{})
	alice := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
	rec.Connect(conn.Info{Node: agenttest.Node("bob")})

	w := &Watch{}
	w.OnStart(rec.Behavior())
	rec.DeliverTo(w)
	rec.Advance(10 * time.Second)
	rec.TakeCalls() // both were pinged
	w.OnMessage(rec.Behavior(), rec.Message(alice, kindPong, nil))
	rec.Advance(9 * time.Second) // bob does not answer

	for _, call := range rec.TakeCalls() {
		if call.Op.Code == agent.OpClose {
			fmt.Println(call)
		}
	}
	// Output:
	// close conn:2: no pong
}

// What was asked for, as text.
func ExampleRecorder_Take() {
	rec := agenttest.New(agenttest.Config{})
	alice := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
	w := &Watch{}
	w.OnMessage(rec.Behavior(), rec.Message(alice, kindPing, []byte("42")))

	for _, line := range rec.Take() {
		fmt.Println(line)
	}
	// Output:
	// send conn:1 kind=2 "42"
}

// What a behaviour does when it is refused.
func ExampleRecorder_Fail() {
	rec := agenttest.New(agenttest.Config{})
	alice := rec.Connect(conn.Info{})
	rec.FailFunc(func(c agenttest.Call) error {
		if c.IsSend() {
			return agent.ErrQueueFull
		}
		return nil
	})
	w := &Watch{}
	w.OnMessage(rec.Behavior(), rec.Message(alice, kindPing, nil))

	for _, line := range rec.Take() {
		fmt.Println(line)
	}
	// Output:
	// send conn:1 kind=2 "" (agent: queue full)
	// close conn:1: cannot answer: agent: queue full
}
