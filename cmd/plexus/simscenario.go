package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/plexus-net/plexus/testnet"
)

// A simScenario is a network that plexus sim knows by name.
type simScenario struct {
	name, about string
	most        int           // nodes
	wired       bool          // by hand, in place of discovery
	calls       time.Duration // between the calls of a node
	link        testnet.Link
	regions     bool // latencies between regions, in place of those of link
	faults      func(o simOptions) testnet.Chaos
	script      func(o simOptions) []testnet.Step
}

// Bounds of networks. A node with discovery knows every other, and that many.
const (
	maxSimNodes   = 20000
	maxDiscovered = 4096
)

// simScenarios are all scenarios, the simplest first.
func simScenarios() []simScenario {
	link := testnet.Link{Latency: latencyAround(40 * time.Millisecond)}
	lossy := testnet.Link{Latency: testnet.Normal(40*time.Millisecond, 20*time.Millisecond), Loss: 0.03, Duplicate: 0.02, Reorder: 0.05, Rate: 2e6, Queue: 64 << 10}
	rough := testnet.Link{Latency: latencyAround(40 * time.Millisecond), Loss: 0.01, Duplicate: 0.01, Reorder: 0.01, Rate: 50e6}
	return []simScenario{
		{name: "calm", about: "links of 40 ms, and nothing happens", most: maxDiscovered, calls: 10 * time.Second, link: link},
		{name: "churn", about: "nodes crash, stop, and come back", most: maxDiscovered, calls: 10 * time.Second, link: link,
			faults: func(o simOptions) testnet.Chaos {
				return testnet.Chaos{Crash: o.share(0.02), Stop: o.share(0.02), Down: o.down()}
			}},
		{name: "partition", about: "the network splits in two halves, heals, and a quarter splits off", most: maxDiscovered, calls: 10 * time.Second, link: link, script: splits},
		{name: "lossy", about: "links with loss, jitter, duplicates, reordering and 2 Mbit/s", most: maxDiscovered, calls: 10 * time.Second, link: lossy},
		{name: "regions", about: "nodes in 14 regions of the world, with measured latencies", most: maxDiscovered, calls: 10 * time.Second, regions: true},
		{name: "lookup", about: "a Kademlia network without discovery looks up keys", most: maxSimNodes, wired: true, calls: 10 * time.Second, link: link},
		{name: "chaos", about: "crashes, stops, pauses, cuts, partitions, splits, wrong clocks, bad links", most: maxDiscovered, calls: 10 * time.Second, link: rough,
			faults: func(o simOptions) testnet.Chaos {
				return testnet.Chaos{Crash: o.share(0.02), Stop: o.share(0.02), Pause: o.share(0.02), Cut: o.share(0.05),
					Partition: o.share(0.02), OneWay: o.share(0.02), Split: max(0.05, 1.5/o.length.Minutes()),
					Down: o.down(), ClockSkew: time.Second, ClockDrift: 1e-4}
			}},
	}
}

// findScenario returns the scenario with a name.
func findScenario(name string) (simScenario, error) {
	all := simScenarios()
	i := slices.IndexFunc(all, func(s simScenario) bool { return s.name == name })
	if i < 0 {
		var names []string
		for _, s := range all {
			names = append(names, s.name)
		}
		return simScenario{}, fmt.Errorf("--scenario is %q; allowed are %s", name, strings.Join(names, ", "))
	}
	return all[i], nil
}

// share is what a fault befalls of the nodes in a minute: enough that some of
// them are seen in a short run of a small network, too.
func (o simOptions) share(least float64) float64 {
	const some = 4
	return min(1, max(least, some/float64(o.nodes)/o.length.Minutes()))
}

// down bounds how long nodes are down.
func (o simOptions) down() time.Duration {
	return min(2*time.Minute, max(time.Second, o.length/10))
}

// latencyAround is a latency with some jitter.
func latencyAround(d time.Duration) testnet.Distribution { return testnet.Normal(d, d/5) }

// splits has half of the nodes split off from 30 % to 45 % of the run, and a
// quarter from 60 % to 70 %.
func splits(o simOptions) []testnet.Step {
	rng := rand.New(rand.NewPCG(o.seed, 0x73706c6974))
	half, quarter := rng.Perm(o.nodes)[:o.nodes/2], rng.Perm(o.nodes)[:max(1, o.nodes/4)]
	at := func(percent time.Duration) time.Duration { return o.length / 100 * percent }
	return []testnet.Step{
		testnet.At(at(30), testnet.Split(half...)), testnet.At(at(45), testnet.Rejoin(half...)),
		testnet.At(at(60), testnet.Split(quarter...)), testnet.At(at(70), testnet.Rejoin(quarter...)),
	}
}

// network is what package testnet runs.
func (o simOptions) network(sc simScenario) testnet.Scenario {
	link := sc.link
	if o.latency > 0 {
		link.Latency = latencyAround(o.latency)
	}
	if o.loss >= 0 {
		link.Loss = o.loss
	}
	run := testnet.Scenario{Nodes: o.nodes, For: o.length, Link: link}
	if sc.regions {
		between := testnet.Regions()
		run.Links = func(from, to int) testnet.Link {
			l := between(from, to)
			l.Loss = link.Loss
			return l
		}
	}
	if sc.faults != nil {
		run.Faults = sc.faults(o)
	}
	if sc.script != nil {
		run.Script = sc.script(o)
	}
	return run
}
