package bench

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

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

// A meter is a behaviour that counts what arrives, in a handler or not. Its
// fields are set before its node starts.
type meter struct {
	handlers bool
	echo     bool
	count    atomic.Int64
	pong     chan struct{}
	answer   func(payload []byte) // called by handlers in place of pong
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
	select {
	case m.opened <- c:
	default: // nobody looks
	}
	if !m.handlers {
		return nil
	}
	return (*meterHandler)(m)
}

type meterHandler meter

func (h *meterHandler) OnMessage(a *agent.Handler, msg *conn.Message) {
	h.count.Add(1)
	switch {
	case h.echo:
		_ = a.Reply(1, msg.Payload)
	case h.answer != nil:
		h.answer(msg.Payload)
	default:
		select {
		case h.pong <- struct{}{}:
		default:
		}
	}
}

// An end is a node that listens on one transport.
type end struct {
	*network.Node
	addr identity.Address
}

// start starts a node. A transport that ends in "-durable" is one whose
// connections are.
func start(b testing.TB, transport string, behaviors map[identity.ServiceID]behavior.Behavior) *end {
	b.Helper()
	key := newKey(b)
	e := &end{}
	transport, durable := strings.CutSuffix(transport, "-durable")
	var t conn.Transport = tcp.New()
	if transport == "quic" {
		t = quic.New()
	}
	n, err := network.New(network.Config{Key: key, Router: newTable(key.ID()), Transports: []conn.Transport{t}, Durable: durable})
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

func (e *end) peer() identity.PeerAddress {
	return identity.PeerAddress{ID: e.Self(), Addresses: []identity.Address{e.addr}}
}

func (e *end) connect(b testing.TB, to *end) conn.Info {
	b.Helper()
	info, err := e.Connect(b.Context(), to.peer())
	if err != nil {
		b.Fatal(err)
	}
	return info
}

// join starts a node for each of two meters, connects them, and returns the
// connection as the client has it.
func join(b testing.TB, transport string, client, server *meter) conn.Info {
	b.Helper()
	x := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: client})
	y := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: server})
	x.connect(b, y)
	<-server.opened
	return <-client.opened
}

// transports are what most benchmarks run over.
var transports = []string{"tcp", "quic"}

func rate(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
