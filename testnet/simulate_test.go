package testnet_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
	"github.com/plexus-net/plexus/testnet"
)

// pinger sends a ping to every node that connects, and answers pings.
type pinger struct {
	rpc.Server
	pongs int
}

var echo = rpc.NewMethod[string, string]("echo").Within(5 * time.Second)

func newPinger() *pinger {
	p := &pinger{}
	echo.Handle(&p.Server, func(_ context.Context, s string) (string, error) { return s, nil })
	return p
}

func (p *pinger) OnMessage(a *agent.Behavior, m *conn.Message) {
	if m.Kind == 1 {
		if err := a.Send(router.ToNode(m.From), 2, m.Payload); err != nil {
			a.Log().Warn("no answer", "err", err)
		}
		return
	}
	p.pongs++
}

func TestSimulateLine(t *testing.T) {
	pingers := make([]*pinger, 5)
	s := testnet.Simulate(t, 1, testnet.Scenario{
		Nodes: 5, Topology: testnet.Mesh, Link: testnet.Link{Latency: testnet.Fixed(10 * time.Millisecond)},
		Register: func(n *testnet.Node) error {
			pingers[n.Index] = newPinger()
			return n.Register(70, pingers[n.Index])
		},
	})
	began := s.Now()
	answer, err := echo.Call(context.Background(), &pingers[0].Client, router.ToNode(s.Node(4).Self()).At(70), "hello")
	if err != nil || answer != "hello" {
		t.Fatalf("echo: %q, %v", answer, err)
	}
	if took := s.Now() - began; took != 20*time.Millisecond {
		t.Errorf("a call over one hop took %v, want 20ms", took)
	}
	s.Partition(0, 4)
	began = s.Now()
	if _, err := echo.Call(context.Background(), &pingers[0].Client, router.ToNode(s.Node(4).Self()).At(70), "hello"); !errors.Is(err, rpc.Timeout) {
		t.Errorf("a call to a node that is cut off: %v, want a time-out", err)
	}
	if took := s.Now() - began; took != 5*time.Second {
		t.Errorf("it took %v, want 5s", took)
	}
	s.Heal(0, 4)
	s.Crash(4)
	s.Sleep(time.Minute)
	if s.Connected(0, 4) {
		t.Error("node 0 still thinks that it is connected to a node that has crashed")
	}
	if err := s.Restart(4); err != nil {
		t.Fatal(err)
	}
	if err := s.Until(time.Minute, "node 0 is connected to node 4", func() bool { return s.Connected(0, 4) }); err != nil {
		t.Fatal(err)
	}
}
