package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

const service = 70

// A meter is a behaviour that counts what arrives, in a handler or not.
type meter struct {
	handlers bool
	echo     bool
	count    atomic.Int64
	pong     chan struct{}
	a        *agent.Behavior
	opened   chan conn.Info
}

func newMeter(handlers bool) *meter {
	return &meter{handlers: handlers, opened: make(chan conn.Info, 16), pong: make(chan struct{}, 1024)}
}

func (m *meter) Describe() behavior.Info { return behavior.Info{Name: "meter"} }

func (m *meter) OnStart(a *agent.Behavior) error { m.a = a; return nil }

func (m *meter) OnMessage(a *agent.Behavior, msg *conn.Message) {
	m.count.Add(1)
	if m.echo {
		_ = a.Send(router.ToNode(msg.From), 1, msg.Payload)
	}
}

func (m *meter) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	m.opened <- c
	if !m.handlers {
		return nil
	}
	return (*meterHandler)(m)
}

type meterHandler meter

func (h *meterHandler) OnMessage(a *agent.Handler, msg *conn.Message) {
	h.count.Add(1)
	if h.echo {
		_ = a.Reply(1, msg.Payload)
	} else {
		select {
		case h.pong <- struct{}{}:
		default:
		}
	}
}

type end struct {
	*network.Node
	addr identity.Address
}

func start(b testing.TB, transport string, behaviors map[identity.ServiceID]behavior.Behavior) *end {
	b.Helper()
	key := newKey(b)
	e := &end{}
	var t conn.Transport = tcp.New()
	if transport == "quic" {
		t = quic.New()
	}
	n, err := network.New(network.Config{Key: key, Router: newTable(key.ID()), Transports: []conn.Transport{t}})
	if err != nil {
		b.Fatal(err)
	}
	e.Node = n
	for id, x := range behaviors {
		if err := n.Register(id, x); err != nil {
			b.Fatal(err)
		}
	}
	if e.addr, err = n.Listen(b.Context(), transport+"://127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	go n.Run(context.Background())
	<-n.Started()
	b.Cleanup(func() { n.Close(context.Background()) })
	return e
}

func (e *end) connect(b testing.TB, to *end) {
	b.Helper()
	if _, err := e.Connect(b.Context(), identity.PeerAddress{ID: to.Self(), Addresses: []identity.Address{to.addr}}); err != nil {
		b.Fatal(err)
	}
}

func meters(b testing.TB, transport string, handlers bool) (client, server *meter, c conn.Info) {
	client, server = newMeter(handlers), newMeter(handlers)
	x := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: client})
	y := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: server})
	x.connect(b, y)
	<-server.opened
	return client, server, <-client.opened
}

func rate(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkOneWay sends messages from one node to another.
func BenchmarkOneWay(b *testing.B) {
	for _, transport := range []string{"tcp", "quic"} {
		for _, size := range []int{64, 1024, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%d/yardstick", transport, size), func(b *testing.B) { yardOneWay(b, transport, size) })
			b.Run(fmt.Sprintf("%s/%d/handler", transport, size), func(b *testing.B) { plexusOneWay(b, transport, size, true) })
			b.Run(fmt.Sprintf("%s/%d/behavior", transport, size), func(b *testing.B) { plexusOneWay(b, transport, size, false) })
		}
	}
}

func yardOneWay(b *testing.B, transport string, size int) {
	c, s := yards(b, transport, false)
	done := make(chan struct{})
	n := 0
	go s.receive(func(p []byte) {
		if len(p) == 0 {
			return
		}
		if n++; n == b.N {
			close(done)
		}
	})
	payload := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		c.send(payload)
	}
	<-done
	rate(b)
}

func plexusOneWay(b *testing.B, transport string, size int, handlers bool) {
	client, server, c := meters(b, transport, handlers)
	payload := make([]byte, size)
	ctx := context.Background()
	to := router.ToConn(c.ID)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := client.a.Send(to, 1, payload); err != nil {
			if !errors.Is(err, agent.ErrQueueFull) {
				b.Fatal(err)
			}
			if err := client.a.SendWait(ctx, to, 1, payload); err != nil {
				b.Fatal(err)
			}
		}
	}
	for server.count.Load() < int64(b.N) {
		time.Sleep(50 * time.Microsecond)
	}
	rate(b)
}

// BenchmarkRoundTrip sends 128 bytes and waits for them to come back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, transport := range []string{"tcp", "quic"} {
		b.Run(transport+"/yardstick", func(b *testing.B) {
			c, s := yards(b, transport, false)
			go s.receive(func(p []byte) {
				if len(p) > 0 {
					s.send(p)
				}
			})
			back := make(chan struct{}, 1)
			go c.receive(func([]byte) { back <- struct{}{} })
			payload := make([]byte, 128)
			b.ResetTimer()
			for range b.N {
				c.send(payload)
				<-back
			}
		})
		b.Run(transport+"/handler", func(b *testing.B) {
			client, server, c := meters(b, transport, true)
			server.echo = true
			payload := make([]byte, 128)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := client.a.Send(router.ToConn(c.ID), 1, payload); err != nil {
					b.Fatal(err)
				}
				<-client.pong
			}
		})
	}
}

// BenchmarkOutstanding keeps 64 requests of 128 bytes under way.
func BenchmarkOutstanding(b *testing.B) {
	const window = 64
	for _, transport := range []string{"tcp", "quic"} {
		for name, yield := range map[string]bool{"naive": false, "yielding": true} {
			b.Run(transport+"/yardstick-"+name, func(b *testing.B) {
				c, s := yards(b, transport, yield)
				go s.receive(func(p []byte) {
					if len(p) > 0 {
						s.send(p)
					}
				})
				back := make(chan struct{}, window)
				go c.receive(func([]byte) { back <- struct{}{} })
				outstanding(b, window, back, func(p []byte) { c.send(p) })
			})
		}
		b.Run(transport+"/handler", func(b *testing.B) {
			client, server, c := meters(b, transport, true)
			server.echo = true
			outstanding(b, window, client.pong, func(p []byte) {
				if err := client.a.Send(router.ToConn(c.ID), 1, p); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func outstanding(b *testing.B, window int, back <-chan struct{}, send func([]byte)) {
	payload := make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i >= window {
			<-back
		}
		send(payload)
	}
	for range min(window, b.N) {
		<-back
	}
	rate(b)
}

// BenchmarkRelay routes 256 bytes over a node in the middle, and directly.
func BenchmarkRelay(b *testing.B) {
	for _, transport := range []string{"tcp", "quic"} {
		for _, relays := range []int{0, 1} {
			b.Run(fmt.Sprintf("%s/relays=%d", transport, relays), func(b *testing.B) { relay(b, transport, relays) })
		}
	}
}

func relay(b *testing.B, transport string, relays int) {
	first, last := newMeter(false), newMeter(false)
	nodes := []*end{start(b, transport, map[identity.ServiceID]behavior.Behavior{service: first})}
	for range relays {
		nodes = append(nodes, start(b, transport, nil))
	}
	nodes = append(nodes, start(b, transport, map[identity.ServiceID]behavior.Behavior{service: last}))
	for i := range nodes[1:] {
		nodes[i].connect(b, nodes[i+1])
	}
	payload := make([]byte, 256)
	to := router.ToNode(nodes[len(nodes)-1].Self())
	for first.a.Send(to, 1, payload) != nil {
		time.Sleep(time.Millisecond)
	}
	for last.count.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	b.SetBytes(256)
	b.ReportAllocs()
	b.ResetTimer()
	const window = 1200 // more than a relay takes before it drops would measure the drops
	wait := func(least int64) {
		for waited := 0; last.count.Load() < least; waited++ {
			time.Sleep(20 * time.Microsecond)
			if waited > 3000 {
				for _, n := range nodes {
					b.Log(n.State().Counters)
				}
				b.Fatalf("%d of %d messages arrived", last.count.Load(), least)
			}
		}
	}
	for i := range b.N {
		wait(int64(i) - window)
		if err := first.a.SendWait(b.Context(), to, 1, payload); err != nil {
			b.Fatal(err)
		}
	}
	wait(int64(b.N) + 1)
	rate(b)
}

// A table forwards what it does not know over its newest link, so that
// forwarding can be measured without a router's choices.
type table struct {
	self  identity.NodeID
	links atomic.Pointer[[]router.Link]
}

func newTable(self identity.NodeID) *table {
	t := &table{self: self}
	t.links.Store(&[]router.Link{})
	return t
}

func (t *table) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	if dest == t.self {
		return router.Deliver()
	}
	links := *t.links.Load()
	for i := range links {
		if links[i].Node == dest && links[i].Conn != in {
			return router.Forward(links[i].Conn)
		}
	}
	for i := range links {
		if links[i].Conn != in {
			return router.Forward(links[i].Conn)
		}
	}
	return router.Reject()
}

func (t *table) PathToKey(identity.Key, identity.ConnID) router.Action { return router.Deliver() }

func (t *table) PathToService(identity.ServiceID, identity.ConnID) router.Action {
	return router.Reject()
}

func (t *table) AddLink(l router.Link) {
	links := append([]router.Link{l}, *t.links.Load()...)
	t.links.Store(&links)
}

func (t *table) RemoveLink(id identity.ConnID) {
	links := slices.DeleteFunc(slices.Clone(*t.links.Load()), func(l router.Link) bool { return l.Conn == id })
	t.links.Store(&links)
}

func (t *table) SetLocal([]identity.ServiceID) {}
