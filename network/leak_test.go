package network

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// counted is an environment that knows what is pending.
type counted struct {
	env.Real
	timers, goroutines atomic.Int64
}

type countedTimer struct {
	env.Timer
	pending *atomic.Int64
	over    atomic.Bool
}

func (t *countedTimer) done() {
	if t.over.CompareAndSwap(false, true) {
		t.pending.Add(-1)
	}
}

func (t *countedTimer) Stop() bool {
	t.done()
	return t.Timer.Stop()
}

func (c *counted) AfterFunc(d time.Duration, f func()) env.Timer {
	c.timers.Add(1)
	t := &countedTimer{pending: &c.timers}
	t.Timer = c.Real.AfterFunc(d, func() { t.done(); f() })
	return t
}

func (c *counted) Go(f func()) {
	c.goroutines.Add(1)
	c.Real.Go(func() {
		defer c.goroutines.Add(-1)
		f()
	})
}

// busy is a behaviour with everything that takes a timer.
type busy struct{ connects chan conn.Info }

func (*busy) Describe() behavior.Info {
	return behavior.Info{Name: "busy", Tick: 100 * time.Millisecond}
}
func (*busy) OnMessage(*agent.Behavior, *conn.Message) {}
func (*busy) OnTick(*agent.Behavior, time.Time)        {}
func (*busy) OnEvent(*agent.Behavior, conn.Info, any)  {}
func (b *busy) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	a.After(time.Hour, 1)
	b.connects <- c
	return &busyHandler{}
}

type busyHandler struct{}

func (*busyHandler) OnOpen(a *agent.Handler)                 { a.After(time.Hour, 1) }
func (*busyHandler) OnMessage(*agent.Handler, *conn.Message) {}
func (*busyHandler) OnEvent(*agent.Handler, conn.Info, any)  {}

// residue says what a node keeps that belongs to connections, dials and calls.
func (n *Node) residue() string {
	links := 0
	n.links.Range(func(any, any) bool { links++; return true })
	n.mu.Lock()
	defer n.mu.Unlock()
	timers := 0
	s := n.services()[70]
	s.timers.mu.Lock()
	timers = len(s.timers.m)
	s.timers.mu.Unlock()
	return fmt.Sprintf("links %d, byNode %d, pending %d, opening %d, pings %d, perHost %d, dials %d, connected %d, timers %d, queued %d",
		links, len(n.byNode), len(n.pending), len(n.opening), len(n.pings), len(n.perHost), len(n.dials), len(s.links), timers, s.box.queued())
}

// churning makes two nodes.
func churning(t *testing.T, net *mem.Network) (nodes []*Node, envs []*counted, behaviours []*busy) {
	for i := range 2 {
		e, b := &counted{}, &busy{connects: make(chan conn.Info, 100)}
		n, err := newNode(Config{Key: seeded(t, byte(i+1)), Router: relay{}, Transports: []conn.Transport{net.Transport()}}, e)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Register(70, b); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(t.Context(), fmt.Sprintf("mem://node%d", i)); err != nil {
			t.Fatal(err)
		}
		nodes, envs, behaviours = append(nodes, n), append(envs, e), append(behaviours, b)
	}
	return nodes, envs, behaviours
}

// What connections leave behind while the node runs, and what a node leaves
// behind when it ends: nothing. PL-19 of the reference, and G12.
func TestG12NothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := mem.NewNetwork()
		nodes, envs, behaviours := churning(t, net)
		done := make(chan error, 2)
		for _, n := range nodes {
			go func() { done <- n.Run(context.Background()) }()
			<-n.Started()
		}
		peer := identity.PeerAddress{ID: nodes[1].Self(), Addresses: nodes[1].Addresses()}
		for round := range 60 {
			info, err := nodes[0].Connect(t.Context(), peer)
			if err != nil {
				t.Fatal(err)
			}
			<-behaviours[0].connects
			<-behaviours[1].connects
			if round%3 == 0 {
				net.Cut(nodes[0].Self(), nodes[1].Self())
				net.Heal(nodes[0].Self(), nodes[1].Self())
			} else if l := nodes[0].link(info.ID); l != nil {
				l.close(conn.ErrClosed)
			}
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for i, n := range nodes {
			// The behaviour's own timers go on: one an hour for each connection.
			if got, want := n.residue(), "links 0, byNode 0, pending 0, opening 0, pings 0, perHost 0, dials 0, connected 0, timers 60, queued 0"; got != want {
				t.Errorf("node %d keeps %s; want %s", i, got, want)
			}
			// 60 timers of the behaviour, its tick, the caretaker.
			if timers := envs[i].timers.Load(); timers != 62 {
				t.Errorf("node %d has %d timers, want 62", i, timers)
			}
			if g := envs[i].goroutines.Load(); g != 1 {
				t.Errorf("node %d has %d goroutines, want that of its listener", i, g)
			}
		}
		// End in the middle of things.
		if _, err := nodes[0].Connect(t.Context(), peer); err != nil {
			t.Fatal(err)
		}
		if err := nodes[0].Add(identity.PeerAddress{ID: seeded(t, 9).ID(), Addresses: []identity.Address{{Scheme: "mem", Host: "nobody"}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i, n := range nodes {
			if err := n.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-done
			synctest.Wait()
			if timers, g := envs[i].timers.Load(), envs[i].goroutines.Load(); timers != 0 || g != 0 {
				t.Errorf("node %d left %d timers and %d goroutines behind", i, timers, g)
			}
		}
	})
}

// starter counts its starts.
type starter struct {
	idle
	starts int
}

func (s *starter) OnStart(*agent.Behavior) error { s.starts++; return nil }

// A behaviour that is registered in the moment in which Run begins starts once.
func TestRegisterWhileRunBegins(t *testing.T) {
	n, err := newNode(Config{Key: seeded(t, 1), Router: relay{}}, env.Real{})
	if err != nil {
		t.Fatal(err)
	}
	early, late := &starter{}, &starter{}
	if err := n.Register(70, early); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.state = isRunning // as Run does, before it starts the behaviours
	n.mu.Unlock()
	if err := n.Register(71, late); err != nil {
		t.Fatal(err)
	}
	if err := n.beginAll(); err != nil {
		t.Fatal(err)
	}
	n.cancel(agent.ErrStopped)
	n.shutdown()
	if early.starts != 1 || late.starts != 1 {
		t.Errorf("%d and %d starts, want one each", early.starts, late.starts)
	}
}
