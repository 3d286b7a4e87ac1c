package testnet_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
	"github.com/plexus-net/plexus/testnet"
)

// A finder says which node it is on.
type finder struct{ rpc.Server }

func (*finder) OnMessage(*agent.Behavior, *conn.Message) {}

var find = rpc.NewMethod[struct{}, int]("find").Within(10 * time.Second)

// BenchmarkSimulatedLookups forms a Kademlia network of 10,000 nodes, and has
// random ones call the nodes closest to 10,000 random keys, 100 at a time. Every
// call has to end at the right node.
func BenchmarkSimulatedLookups(b *testing.B) {
	const nodes, calls = 10_000, 10_000
	for b.Loop() {
		finders := make([]*finder, nodes)
		s := testnet.Simulate(b, 1, testnet.Scenario{Nodes: nodes, For: time.Hour, Link: testnet.Link{Latency: testnet.Normal(40*time.Millisecond, 8*time.Millisecond)},
			Register: func(n *testnet.Node) error {
				f := &finder{}
				find.Handle(&f.Server, func(context.Context, struct{}) (int, error) { return n.Index, nil })
				finders[n.Index] = f
				return n.Register(70, f)
			}})
		for _, e := range bucketEdges(s.Nodes()) {
			if err := s.Node(e.From).Add(s.Node(e.To).Address()); err != nil {
				b.Fatal(err)
			}
		}
		s.Sleep(20 * time.Second)
		formed := b.Elapsed()
		look(b, s, finders, calls)
		b.ReportMetric(formed.Seconds(), "s-forming")
		b.ReportMetric((b.Elapsed() - formed).Seconds(), "s-lookups")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.Sys)/(1<<30), "GiB")
	}
}

// look makes calls to random keys from random nodes.
func look(b *testing.B, s *testnet.Sim, finders []*finder, calls int) {
	keys := make([]identity.Key, len(finders))
	for i := range keys {
		keys[i] = s.Node(i).Key.ID().Key()
	}
	running := 0
	for range 100 {
		running++
		s.Go(func() {
			defer func() { running-- }()
			for calls > 0 {
				calls--
				var key identity.Key
				for i := range key {
					key[i] = byte(s.Rand().Uint32())
				}
				at, err := find.Call(s.Context(), &finders[s.Rand().IntN(len(finders))].Client, router.ToKey(key).At(70), struct{}{})
				if err != nil {
					b.Errorf("key %v: %v", key, err)
					continue
				}
				for i := range keys {
					if key.Closer(keys[i], keys[at]) {
						b.Errorf("key %v was found at node %d, but node %d is closer", key, at, i)
						break
					}
				}
			}
		})
	}
	for running > 0 {
		s.Sleep(time.Second)
	}
}
