package testnet_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/plexus-net/plexus/behaviors/discovery"
	"github.com/plexus-net/plexus/behaviors/latency"
	"github.com/plexus-net/plexus/behaviors/state"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/testnet"
)

// batteries are the behaviours that plexus ships, as package plexus puts them
// together.
type batteries struct {
	discovery *discovery.Discovery
	latency   *latency.Latency
	state     *state.State
	pinger    *pinger
}

// withBatteries registers the batteries on nodes whose only seed is node 0.
func withBatteries(all []batteries, target int) func(n *testnet.Node) error {
	var seed []identity.PeerAddress
	return func(n *testnet.Node) error {
		if n.Index == 0 { // the first one of each run
			addr, err := identity.ParseAddress("sim://node0:1")
			if err != nil {
				return err
			}
			seed = []identity.PeerAddress{{ID: n.Key.ID(), Addresses: []identity.Address{addr}}}
		}
		b := &all[n.Index]
		cfg := discovery.Config{Key: n.Key, Target: target, Directory: n.Table.(router.Directory), Services: n.Services, Addresses: n.Addresses}
		if n.Index != 0 {
			cfg.Seeds = seed
		}
		b.discovery = discovery.New(cfg)
		b.latency = latency.New(latency.Config{})
		b.state = state.New(state.Config{Key: n.Key})
		b.pinger = newPinger()
		if err := n.Register(discovery.Service, b.discovery); err != nil {
			return err
		}
		if err := n.Register(latency.Service, b.latency); err != nil {
			return err
		}
		if err := n.Register(state.Service, b.state); err != nil {
			return err
		}
		return n.Register(70, b.pinger)
	}
}

func rich(nodes int) testnet.Scenario {
	all := make([]batteries, nodes)
	return testnet.Scenario{
		Nodes: nodes, For: 2 * time.Minute,
		Link: testnet.Link{Latency: testnet.Normal(40*time.Millisecond, 8*time.Millisecond), Loss: 0.01, Duplicate: 0.01, Reorder: 0.01, Rate: 50e6},
		Faults: testnet.Chaos{Crash: 0.2, Stop: 0.1, Pause: 0.1, Cut: 0.5, Partition: 0.2, OneWay: 0.1, Split: 1,
			ClockSkew: time.Second, ClockDrift: 1e-4},
		Register: withBatteries(all, 4),
		Drive: func(s *testnet.Sim) error {
			for i := range 100 {
				s.Sleep(time.Second)
				at := s.Rand().IntN(nodes)
				if s.Up(at) {
					_ = all[at].state.Set(s.Context(), fmt.Sprint(i%20), []byte(fmt.Sprint(i)))
				}
			}
			return nil
		},
	}
}

// G13: a seed decides all that happens, whatever the number of cores.
func TestG13SameSeedSameRun(t *testing.T) {
	rounds := 20
	if raceEnabled {
		rounds = 3 // each takes twenty times as long
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first testnet.Result
	for round := range rounds {
		runtime.GOMAXPROCS(1 + round%4)
		got, err := testnet.Run(7, rich(20), nil)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			first = got
		}
		if got != first {
			t.Fatalf("round %d: %+v, want %+v", round, got, first)
		}
	}
	if other, err := testnet.Run(8, rich(20), nil); err != nil || other.Hash == first.Hash {
		t.Errorf("another seed: %+v, %v; want another run", other, err)
	}
}

// BenchmarkSimulatedMinute lets a large network of batteries form, with 20
// connections for each node, and measures a virtual minute of it.
func BenchmarkSimulatedMinute(b *testing.B) {
	for _, nodes := range []int{200, 1000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			s := testnet.Simulate(b, 1, testnet.Scenario{Nodes: nodes, For: 1000 * time.Hour, Register: withBatteries(make([]batteries, nodes), 20),
				Link: testnet.Link{Latency: testnet.Normal(40*time.Millisecond, 8*time.Millisecond)}})
			s.Sleep(time.Minute)
			began := s.Events()
			b.ResetTimer()
			for b.Loop() {
				s.Sleep(time.Minute)
			}
			conns := 0
			for _, n := range s.Nodes() {
				conns += len(n.State().Conns)
			}
			b.ReportMetric(float64(s.Events()-began)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(conns)/float64(nodes), "conns/node")
		})
	}
}
