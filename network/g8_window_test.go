package network_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// small makes messages and windows small.
func small(c *network.Config) { c.Limits.Message = 1000 }

const smallWindow = 10 * 1064

func TestG8WindowPerService(t *testing.T) {
	for _, way := range []string{"connection", "node"} {
		t.Run(way, func(t *testing.T) { bubble(t, func(t *testing.T) { windowPerService(t, way) }) })
	}
}

func windowPerService(t *testing.T, way string) {
	b := newBench(t)
	slow, quick := newProbe(), newProbe()
	slow.info.Window = smallWindow
	quick.info.Name = "quick"
	gate := make(chan struct{})
	o := newInOrder(110)
	slow.onMessage = func(_ *agent.Behavior, m *conn.Message) { <-gate; o.note("slow", string(m.Payload[:3])) }
	pa, qa := newProbe(), newProbe()
	qa.info.Name = "quick"
	na, nb := b.host(1, small), b.host(2, small)
	register(t, na, service, pa)
	register(t, na, 71, qa)
	register(t, nb, service, slow)
	register(t, nb, 71, quick)
	na.run("mem://a")
	nb.run("mem://b")
	to := router.ToConn(connect(t, na, nb).ID)
	if way == "node" {
		to = router.ToNode(nb.Self())
	}
	synctest.Wait()
	payload := func(i int) []byte { return append(fmt.Append(nil, i), make([]byte, 1000-len(fmt.Sprint(i)))...) }
	o.next["slow"] = 100 // so that all texts have three characters
	sent := 100
	for ; ; sent++ {
		err := pa.a.Send(to, 1, payload(sent))
		if errors.Is(err, agent.ErrQueueFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the receiver takes what it can
	}
	if sent != 110 {
		t.Errorf("%d messages of 1064 went into a window of %d, want 10", sent-100, smallWindow)
	}
	// The other service of the connection has its own.
	for i := range 1000 {
		if err := qa.a.SendWait(soon(t), router.ToConn(na.State().Conns[0].ID), 1, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if m := get(t, quick.received, "a message for the quick service"); m.text != fmt.Sprint(i) {
			t.Fatalf("received %q, want %d", m.text, i)
		}
	}
	// Who waits goes on as soon as there is room; nothing is lost.
	var group sync.WaitGroup
	group.Go(func() {
		for i := sent; i < 210; i++ {
			if err := pa.a.SendWait(soon(t), to, 1, payload(i)); err != nil {
				t.Error(err)
			}
		}
	})
	synctest.Wait()
	close(gate)
	group.Wait()
	o.check(t)
	if n := na.State().Conns[0].Queued; n != 0 {
		t.Errorf("%d bytes are still queued", n)
	}
}

// A handler consumes as it is called: its window never fills.
func TestG8HandlerConsumes(t *testing.T) {
	b := newBench(t)
	const n = 20000
	pa, pb := newProbe(), newProbe()
	pb.info.Window = smallWindow
	o := newInOrder(n)
	pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
		return &handler{onMessage: func(_ *agent.Handler, m *conn.Message) { o.note("handler", string(m.Payload)) }}
	}
	na, nb := b.with(1, pa, small), b.with(2, pb, small)
	info := connect(t, na, nb)
	get(t, pa.connected, "OnConnect")
	for i := range n {
		if err := pa.a.SendWait(soon(t), router.ToConn(info.ID), 1, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	o.check(t)
}

// One who sends beyond the window is no honest peer.
func TestG8OverrunClosesPeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		p.info.Window = smallWindow
		gate := make(chan struct{})
		p.onMessage = func(*agent.Behavior, *conn.Message) { <-gate }
		h := b.with(1, p, small)
		r := b.opened(2, h)
		sent := 0
		for ; sent < 100; sent++ {
			if _, err := r.c.Write(directFrame(service, 1, string(make([]byte, 1000)))); err != nil {
				break
			}
			synctest.Wait()
			if h.count("protocol_errors") != 0 {
				break
			}
		}
		if sent < 10 || sent > 30 {
			t.Errorf("the peer was closed after %d messages, its window holds 10", sent)
		}
		wantCode(t, r.goodbye(), conn.CodeProtocol)
		close(gate)
	})
}

// What waits for a behaviour from this node itself, and what comes routed, is
// bounded by number and bytes.
func TestG8LocalQueueBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p, sender := newProbe(), newProbe()
		p.info.MaxQueue, p.info.Window = 20, smallWindow
		gate := make(chan struct{})
		p.onMessage = func(*agent.Behavior, *conn.Message) { <-gate }
		p.onEvent = func(*agent.Behavior, conn.Info, any) {}
		sender.info.Name = "sender"
		h := b.host(1, small)
		register(t, h, service, p)
		register(t, h, 71, sender)
		h.run("mem://a")
		to := router.ToNode(h.Self()).At(service)
		fill := func(f func() error) (n int) {
			for n < 1000 && f() == nil {
				n++
			}
			return n
		}
		if err := sender.a.Send(to, 1, nil); err != nil { // it blocks in this one
			t.Fatal(err)
		}
		synctest.Wait()
		if n := fill(func() error { return sender.a.Send(to, 1, make([]byte, 1000)) }); n != 10 {
			t.Errorf("%d messages of 1000 bytes were taken, Info.Window is %d", n, smallWindow)
		}
		if n := fill(func() error { return p.a.Tell(1) }); n != 9 {
			t.Errorf("%d more events were taken, Info.MaxQueue is 20", n)
		}
		if err := p.a.Tell(1); !errors.Is(err, agent.ErrQueueFull) {
			t.Errorf("Tell: %v", err)
		}
		if err := sender.a.Send(to, 1, nil); !errors.Is(err, agent.ErrQueueFull) {
			t.Errorf("Send: %v", err)
		}
		if q := h.State().Services[0].Queued; q != 20 {
			t.Errorf("%d are queued, want 20", q)
		}
		if h.count("events_refused") == 0 || h.count("messages_refused") == 0 {
			t.Error("refusals are not counted")
		}
		waited := make(chan error, 2)
		go func() { waited <- p.a.Post(soon(t), 1) }()
		go func() { waited <- sender.a.SendWait(soon(t), to, 1, make([]byte, 1000)) }()
		synctest.Wait()
		if len(waited) != 0 {
			t.Error("Post or SendWait did not wait")
		}
		close(gate)
		for range 2 {
			if err := get(t, waited, "Post and SendWait"); err != nil {
				t.Error(err)
			}
		}
	})
}

// A window is what the receiver said, however much credit it gives.
func TestG8CreditOverflow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		h := b.with(1, p, small)
		s := probeService
		s.Window = 5000
		r := b.opened(2, h, s)
		c := get(t, p.connected, "OnConnect")
		for range 5 {
			r.send(wire.AppendCredit(nil, service, 0xffffffff))
			r.send(wire.AppendCredit(nil, 0, 0xffffffff))
			r.send(wire.AppendCredit(nil, service, 0))
		}
		r.alive()
		n := 0
		for ; p.a.Send(router.ToConn(c.ID), 1, nil) == nil; n++ {
		}
		if n != 5000/64 {
			t.Errorf("%d messages went into a window of 5000, want %d", n, 5000/64)
		}
	})
}

// Nor may a receiver make the sender's memory grow without end.
func TestG8HugeWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		h := b.with(1, p)
		s := probeService
		s.Window = 0xffffffff
		b.opened(2, h, s) // and reads nothing more
		c := get(t, p.connected, "OnConnect")
		payload, total := make([]byte, 1<<20), 0
		for total < 64<<20 && p.a.Send(router.ToConn(c.ID), 1, payload) == nil {
			total += len(payload)
		}
		if total > 16<<20 {
			t.Errorf("%d MiB wait for a peer that does not read", total>>20)
		}
	})
}

// A peer that asks and does not read the answers is closed before they pile up.
func TestG8ControlFlood(t *testing.T) {
	for what, frame := range map[string][]byte{
		"pings":            wire.AppendPing(nil, wire.TypePing, 1),
		"unknown services": directFrame(999, 1, ""),
		"undeliverable":    wire.AppendRouted(nil, &wire.Routed{Rule: router.RuleNode, TTL: 3, Hops: 1, Service: 1, Flags: wire.FlagReport, Origin: key(t, 2).ID(), Target: [32]byte{1}}, 0),
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				p := newProbe()
				h := b.with(1, p)
				r := b.opened(2, h)
				var batch []byte
				for len(batch) < 64<<10 {
					batch = append(batch, frame...)
				}
				for total := 0; total < 16<<20; {
					n, err := r.c.Write(batch)
					if err != nil {
						break
					}
					total += n
					for _, c := range h.State().Conns {
						if c.Queued > 2<<20 {
							t.Fatalf("%d bytes wait for a peer that reads nothing, after %d of its own", c.Queued, total)
						}
					}
				}
				wantCode(t, get(t, p.lost, "OnDisconnect"), conn.CodeProtocol)
				time.Sleep(time.Second)
			})
		})
	}
}

// A handler waits for room as a behaviour does, from a goroutine of its own.
func TestG8HandlerWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		pa.info.Window = smallWindow
		gate := make(chan struct{})
		o := newInOrder(100)
		pa.onMessage = func(_ *agent.Behavior, m *conn.Message) { <-gate; o.note("a", string(m.Payload[:3])) }
		o.next["a"] = 100
		handlers := make(chan *agent.Handler, 1)
		pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
			return &handler{onOpen: func(a *agent.Handler) { handlers <- a }}
		}
		na, nb := b.with(1, pa, small), b.with(2, pb, small)
		connect(t, na, nb)
		h := get(t, handlers, "OnOpen")
		synctest.Wait()
		done := make(chan error, 1)
		go func() {
			for i := range 100 {
				if err := h.SendWait(soon(t), router.ToConn(h.Info().ID), 1, append(fmt.Append(nil, 100+i), make([]byte, 900)...)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		synctest.Wait()
		if len(done) != 0 {
			t.Error("SendWait did not wait")
		}
		if err := h.Reply(1, make([]byte, 1000)); !errors.Is(err, agent.ErrQueueFull) {
			t.Errorf("Reply: %v, want ErrQueueFull", err)
		}
		if s := h.Stats(); s.MessagesSent < 10 || s.LastReceived.IsZero() {
			t.Errorf("stats: %+v", s)
		}
		close(gate)
		if err := get(t, done, "SendWait"); err != nil {
			t.Error(err)
		}
		o.check(t)
	})
}
