package bench

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// dialers is how many nodes of BenchmarkSetup dial. Package secure keeps the
// certificates of 64 keys in a process: more would measure making them.
const dialers = 48

// BenchmarkSetup opens connections to one node, one after the other and 8 at a
// time: conns/s and cpu-µs/conn count opening only, ns/op closing too. Each node
// dials from a socket that it has, and again when its last connection is gone
// at both ends. The yardstick shakes hands with the same keys; then each end
// sends one empty frame, as nodes do at the least before they know that both
// are open. The handshake alone leaves that out, and does not wait for the
// other end to check who dials.
func BenchmarkSetup(b *testing.B) {
	for _, transport := range transports {
		for _, parallel := range []int{1, 8} {
			name := fmt.Sprintf("%s/%d/", transport, parallel)
			b.Run(name+"handshake", func(b *testing.B) { yardSetup(b, transport, parallel, false) })
			b.Run(name+"yardstick", func(b *testing.B) { yardSetup(b, transport, parallel, true) })
			b.Run(name+"plexus", func(b *testing.B) { plexusSetup(b, transport, parallel) })
		}
	}
}

// setup has each dialer open a connection, some at a time, and close it when
// all have, until there were b.N.
func setup(b *testing.B, parallel int, open func(dialer int) error, closeAll func(opened int)) {
	var spent, cpu time.Duration
	round := func(n int) {
		began, used := time.Now(), cpuTime()
		var wg sync.WaitGroup
		var next atomic.Int64
		for range parallel {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					if err := open(i); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		spent += time.Since(began)
		cpu += cpuTime() - used
		closeAll(n)
	}
	round(dialers)
	spent, cpu = 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N && !b.Failed(); done += dialers {
		round(min(dialers, b.N-done))
	}
	b.ReportMetric(float64(b.N)/spent.Seconds(), "conns/s")
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/conn")
}

func yardSetup(b *testing.B, transport string, parallel int, answered bool) {
	h := newHub(b, transport, func(s io.ReadWriter) {
		_, _ = s.Read(make([]byte, 1)) // until the other end closes
	})
	spokes, ends := make([]*spoke, dialers), make([]func(), dialers)
	for i := range spokes {
		spokes[i] = h.spoke(b)
	}
	setup(b, parallel, func(i int) error {
		s, end, err := spokes[i].dial(b.Context())
		if err == nil && answered {
			err = greet(s)
		}
		ends[i] = end
		return err
	}, func(opened int) {
		for _, end := range ends[:opened] {
			end()
		}
	})
}

func plexusSetup(b *testing.B, transport string, parallel int) {
	server := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: newMeter(true)})
	clients, nodes, links := make([]*meter, dialers), make([]*end, dialers), make([]conn.Info, dialers)
	for i := range nodes {
		clients[i] = newMeter(true)
		nodes[i] = start(b, transport, map[identity.ServiceID]behavior.Behavior{service: clients[i]})
	}
	total := uint64(0)
	setup(b, parallel, func(i int) (err error) {
		links[i], err = nodes[i].Connect(b.Context(), server.peer())
		return err
	}, func(opened int) {
		for i := range opened {
			if err := clients[i].a.Close(links[i].ID, nil); err != nil {
				b.Error(err)
			}
		}
		total += uint64(opened)
		for server.State().Counters["conns_closed"] < total {
			time.Sleep(100 * time.Microsecond)
		}
		for _, n := range nodes[:opened] {
			for len(n.State().Conns) > 0 {
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
}
