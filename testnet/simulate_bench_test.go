package testnet_test

import (
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/testnet"
)

// bouncer sends back whatever comes, over the same connection.
type bouncer struct {
	a     *agent.Behavior
	conns []conn.Info
	count int
}

func (b *bouncer) OnStart(a *agent.Behavior) error { b.a = a; return nil }

func (b *bouncer) OnConnect(_ *agent.Behavior, c conn.Info) behavior.Handler {
	b.conns = append(b.conns, c)
	return (*bounceHandler)(b)
}

func (b *bouncer) OnMessage(*agent.Behavior, *conn.Message) {}

type bounceHandler bouncer

func (b *bounceHandler) OnMessage(a *agent.Handler, m *conn.Message) {
	b.count++
	_ = a.Reply(m.Kind, m.Payload)
}

// BenchmarkSimulatedDelivery has messages go back and forth on a ring of nodes,
// with several under way on each connection.
func BenchmarkSimulatedDelivery(b *testing.B) {
	var bouncers []*bouncer
	s := testnet.Simulate(b, 1, testnet.Scenario{
		Nodes: 100, Topology: testnet.Ring, For: 1000 * time.Hour,
		Link: testnet.Link{Latency: testnet.Uniform(5*time.Millisecond, 15*time.Millisecond)},
		Register: func(n *testnet.Node) error {
			bouncers = append(bouncers, &bouncer{})
			return n.Register(70, bouncers[n.Index])
		},
	})
	for _, x := range bouncers {
		for _, c := range x.conns {
			for range 4 {
				if err := x.a.Send(router.ToConn(c.ID), 1, make([]byte, 64)); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	count := func() (n int) {
		for _, x := range bouncers {
			n += x.count
		}
		return n
	}
	b.ReportAllocs()
	b.ResetTimer()
	for begun := count(); count()-begun < b.N; {
		s.Sleep(20 * time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
