package metrics_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/network/metrics"
	"github.com/plexus-net/plexus/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestScrape checks that a pedantic registry takes what a connected node gives.
func TestScrape(t *testing.T) {
	net := testnet.New(t, testnet.Options{Nodes: 3, Topology: testnet.Star, Register: func(n *testnet.Node) error {
		return n.Register(70, behavior.Func(func(*agent.Behavior, *conn.Message) {}))
	}})
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(metrics.New(net.Node(0)))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{"plexus_connections incoming": 2, "plexus_connections outgoing": 0, "plexus_events_total conns_opened": 2} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if err := net.Node(0).Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := reg.Gather(); err != nil {
		t.Error("a node that has stopped:", err)
	}
}
