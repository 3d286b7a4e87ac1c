package bench

import (
	"context"
	"runtime/pprof"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// BenchmarkRelay routes 256 bytes over a node in the middle, and directly.
// Three nodes share the cores that the direct pair has for two, so the relay is
// judged by what the whole process spends on a message, cpu-ns/msg, too:
// relay-cpu-ns/msg is by how much that exceeds the direct pair's, and
// relay/direct compares the rate of a relay with a core of its own to that of
// the direct pair with a core for each end. Both count against the relay what
// the ends spend more on a routed message. In a CPU profile the label "node"
// tells the nodes apart: -tagfocus node=relay.
func BenchmarkRelay(b *testing.B) {
	for _, transport := range transports {
		var direct float64
		b.Run(transport+"/relays=0", func(b *testing.B) { direct = relay(b, transport, 0) })
		b.Run(transport+"/relays=1", func(b *testing.B) {
			if cost := relay(b, transport, 1) - direct; direct > 0 && cost > 0 {
				b.ReportMetric(cost, "relay-cpu-ns/msg")
				b.ReportMetric(direct/2/cost, "relay/direct")
			}
		})
	}
}

// line starts nodes that are connected in a row, the first and the last of
// them with a behaviour.
func line(b *testing.B, transport string, first, last *meter, relays int) []*end {
	names := append(append([]string{"first"}, slices.Repeat([]string{"relay"}, relays)...), "last")
	meters := map[string]*meter{"first": first, "last": last}
	nodes := make([]*end, len(names))
	as := func(i int, f func()) {
		pprof.Do(b.Context(), pprof.Labels("node", names[i]), func(context.Context) { f() })
	}
	for i, name := range names {
		behaviors := map[identity.ServiceID]behavior.Behavior{}
		if m := meters[name]; m != nil {
			behaviors[service] = m
		}
		as(i, func() { nodes[i] = start(b, transport, behaviors) })
	}
	for i := range nodes[1:] {
		as(i, func() { nodes[i].connect(b, nodes[i+1]) })
	}
	return nodes
}

// relay returns what the process has spent on a message, in nanoseconds.
func relay(b *testing.B, transport string, relays int) float64 {
	first, last := newMeter(false), newMeter(false)
	nodes := line(b, transport, first, last, relays)
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
	began := cpuTime()
	for i := range b.N {
		wait(int64(i) - window)
		if err := first.a.SendWait(b.Context(), to, 1, payload); err != nil {
			b.Fatal(err)
		}
	}
	wait(int64(b.N) + 1)
	spent := float64(cpuTime()-began) / float64(b.N)
	rate(b)
	b.ReportMetric(spent, "cpu-ns/msg")
	return spent
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
