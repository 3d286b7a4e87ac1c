package testnet_test

import (
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/plexus-net/plexus/testnet"
)

// seeds is how many runs TestChaos makes of all its networks together.
var seeds = flag.Int("seeds", fewSeeds(), "runs of TestChaos")

// fewSeeds is a run of each network, and of one under the race detector.
func fewSeeds() int {
	if raceEnabled {
		return 1
	}
	return len(storms)
}

// chaotic is a network of batteries with traffic, and a map that somebody
// writes to. Everything has to be well again at the end.
func chaotic(nodes int, cfg testnet.TrafficConfig, link testnet.Link, faults testnet.Chaos) testnet.Scenario {
	all := make([]batteries, nodes)
	register := withBatteries(all, 4)
	traffic := testnet.NewTraffic(cfg)
	always, eventually := testnet.Standard(traffic)
	return testnet.Scenario{
		Nodes: nodes, For: 150 * time.Second, Link: link, Faults: faults,
		Register: func(n *testnet.Node) error {
			return errors.Join(register(n), traffic.Register(n, 71))
		},
		Drive: func(s *testnet.Sim) error {
			for i := range 80 {
				s.Sleep(time.Second)
				if at := s.Rand().IntN(len(s.Nodes())); s.Up(at) {
					_ = all[at].state.Set(s.Context(), fmt.Sprint(i%20), []byte(fmt.Sprint(i))) // the node may stop
				}
			}
			return nil
		},
		Always:     always,
		Eventually: append(eventually, testnet.Holds("all maps are equal", func(s *testnet.Sim) error { return equalMaps(s, all) })),
	}
}

// equalMaps compares the maps of all nodes that are up.
func equalMaps(s *testnet.Sim, all []batteries) error {
	first := -1
	for i := range s.Nodes() {
		if !s.Up(i) {
			continue
		}
		if first < 0 {
			first = i
		}
		if all[i].state.Root() != all[first].state.Root() {
			return fmt.Errorf("nodes %d and %d hold different entries: %d and %d of them", first, i, all[first].state.Stats().Keys, all[i].state.Stats().Keys)
		}
	}
	return nil
}

// storms are the networks of TestChaos.
var storms = []struct {
	name     string
	scenario func() testnet.Scenario
}{
	{"everything", func() testnet.Scenario {
		return chaotic(16, testnet.TrafficConfig{},
			testnet.Link{Latency: testnet.Normal(40*time.Millisecond, 8*time.Millisecond), Loss: 0.02, Duplicate: 0.02, Reorder: 0.05, Rate: 20e6},
			testnet.Chaos{Crash: 0.3, Stop: 0.2, Pause: 0.2, Cut: 0.5, Partition: 0.3, OneWay: 0.2, Split: 0.7, ClockSkew: 2 * time.Second, ClockDrift: 1e-4})
	}},
	{"churn", func() testnet.Scenario {
		return chaotic(20, testnet.TrafficConfig{},
			testnet.Link{Latency: testnet.LogNormal(20*time.Millisecond, 0.5)},
			testnet.Chaos{Crash: 1, Stop: 1.5, Cut: 2, Down: 5 * time.Second, ClockSkew: time.Minute})
	}},
	{"partitions", func() testnet.Scenario {
		return chaotic(12, testnet.TrafficConfig{},
			testnet.Link{Latency: testnet.Uniform(5*time.Millisecond, 150*time.Millisecond), Loss: 0.01},
			testnet.Chaos{Partition: 3, OneWay: 3, Split: 2, Pause: 0.2, Down: 30 * time.Second})
	}},
	{"busy", func() testnet.Scenario {
		return chaotic(8, testnet.TrafficConfig{Interval: 50 * time.Millisecond, Burst: 16, Size: 1 << 10},
			testnet.Link{Latency: testnet.Normal(10*time.Millisecond, 2*time.Millisecond), Loss: 0.01, Duplicate: 0.05, Rate: 4e6},
			testnet.Chaos{Crash: 0.1, Cut: 0.5, Pause: 0.2, Partition: 0.2, Split: 0.3, Down: 10 * time.Second})
	}},
}

// TestDurableChaos is TestChaos with durable connections: what breaks them is
// mended, and who loses one is told what may not have arrived.
func TestDurableChaos(t *testing.T) {
	for i, storm := range storms {
		t.Run(storm.name, func(t *testing.T) {
			t.Parallel()
			sc := storm.scenario()
			sc.Durable = true
			if sc.Seeds = (*seeds + len(storms) - 1 - i) / len(storms); sc.Seeds == 0 {
				t.Skip("no seeds left for it")
			}
			testnet.Check(t, sc)
		})
	}
}

// TestChaos has networks of all that plexus ships live through whatever may
// happen to them. With -seeds 200 it takes minutes.
func TestChaos(t *testing.T) {
	for i, storm := range storms {
		t.Run(storm.name, func(t *testing.T) {
			t.Parallel()
			sc := storm.scenario()
			if sc.Seeds = (*seeds + len(storms) - 1 - i) / len(storms); sc.Seeds == 0 {
				t.Skip("no seeds left for it")
			}
			testnet.Check(t, sc)
		})
	}
}
