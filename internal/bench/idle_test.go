package bench

import (
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/plexus-net/plexus"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

const (
	idleNodes = 16
	idleConns = 200
	idleRead  = 4 << 10 // what the idle yardstick reads into
)

// A footprint is what the process holds while nothing happens.
type footprint struct{ goroutines, heap, stacks float64 }

// rest waits until goroutines neither come nor go, and the collector has freed
// what can be freed, pools too.
func rest(b *testing.B) footprint {
	for same, n := 0, 0; same < 10; same++ {
		time.Sleep(10 * time.Millisecond)
		if now := runtime.NumGoroutine(); now != n {
			same, n = 0, now
		}
	}
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{float64(runtime.NumGoroutine()), float64(m.HeapAlloc), float64(m.StackInuse)}
}

// A growth adds up by how much the footprint has grown.
type growth struct {
	footprint
	count float64
}

func (g *growth) add(before, after footprint, count int) {
	g.goroutines += after.goroutines - before.goroutines
	g.heap += after.heap - before.heap
	g.stacks += after.stacks - before.stacks
	g.count += float64(count)
}

// kib returns memory per unit.
func (g *growth) kib() float64 { return (g.heap + g.stacks) / g.count / 1024 }

func (g *growth) report(b *testing.B, unit string) {
	b.ReportMetric(g.goroutines/g.count, "goroutines/"+unit)
	b.ReportMetric(g.kib(), "KiB/"+unit)
	b.ReportMetric(g.stacks/g.count/1024, "stack-KiB/"+unit)
}

// BenchmarkIdleNode measures what a node with all batteries holds that listens
// on TCP and QUIC and knows nobody. One iteration starts 16 of them.
func BenchmarkIdleNode(b *testing.B) {
	var g growth
	idle := func() {
		ctx, stop := context.WithCancel(b.Context())
		before := rest(b)
		nodes := make([]*plexus.Node, idleNodes)
		for i := range nodes {
			var err error
			if nodes[i], err = plexus.Start(ctx, plexus.Config{Listen: []string{"tcp://127.0.0.1:0", "quic://127.0.0.1:0"}}); err != nil {
				b.Fatal(err)
			}
		}
		g.add(before, rest(b), idleNodes)
		stop()
		for _, n := range nodes {
			<-n.Done()
		}
	}
	idle() // what is made once for all nodes counts for none
	g = growth{}
	for b.Loop() {
		idle()
	}
	g.report(b, "node")
}

// BenchmarkIdleConn measures what a connection holds, both ends together, that
// has carried one message of 128 bytes each way. One iteration makes 200 from
// as many nodes to one; what the nodes hold without it does not count. The
// yardstick has the same certificates and sockets, a reader and a flusher at
// each end, and reads into 4 KiB: its usual buffer would hide what plexus holds.
// Over it is the memory of plexus above that of the yardstick.
func BenchmarkIdleConn(b *testing.B) {
	for _, transport := range transports {
		var yardstick float64
		b.Run(transport+"/yardstick", func(b *testing.B) {
			yardstick = idleConn(b, "yardstick", func(b *testing.B) func() { return idleYards(b, transport) })
		})
		b.Run(transport+"/plexus", func(b *testing.B) {
			kib := idleConn(b, "plexus", func(b *testing.B) func() { return idleLinks(b, transport) })
			b.ReportMetric(kib-yardstick, "over-KiB/conn")
		})
	}
}

// idleConn reports what idleConns connections hold: prepare sets up their ends
// and returns what connects them.
func idleConn(b *testing.B, name string, prepare func(*testing.B) (connect func())) float64 {
	var g growth
	for b.Loop() {
		connect := prepare(b)
		before := rest(b)
		connect()
		g.add(before, rest(b), idleConns)
	}
	g.report(b, "conn")
	return g.kib()
}

func idleLinks(b *testing.B, transport string) (connect func()) {
	server := newMeter(true)
	server.echo = true
	y := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: server})
	clients, nodes := make([]*meter, 1+idleConns), make([]*end, 1+idleConns)
	for i := range nodes {
		clients[i] = newMeter(true)
		nodes[i] = start(b, transport, map[identity.ServiceID]behavior.Behavior{service: clients[i]})
	}
	ping := func(i int) {
		id := nodes[i].connect(b, y).ID
		<-clients[i].opened
		if err := clients[i].a.Send(router.ToConn(id), 1, make([]byte, 128)); err != nil {
			b.Fatal(err)
		}
		<-clients[i].pong
	}
	ping(idleConns) // what is made with the first connection counts for none
	return func() {
		for i := range idleConns {
			ping(i)
		}
	}
}

func idleYards(b *testing.B, transport string) (connect func()) {
	h := newHub(b, transport, func(s io.ReadWriter) {
		y := newYard(s, true)
		defer y.Close()
		y.receiveInto(make([]byte, idleRead), y.Send)
	})
	spokes := make([]*spoke, 1+idleConns)
	for i := range spokes {
		spokes[i] = h.spoke(b)
	}
	ping := func(i int) {
		s, end := spokes[i].open(b)
		b.Cleanup(end)
		y := newYard(s, true)
		b.Cleanup(y.Close)
		pong := make(chan struct{})
		go y.receiveInto(make([]byte, idleRead), func([]byte) { close(pong) })
		y.Send(make([]byte, 128))
		<-pong
	}
	ping(idleConns)
	return func() {
		for i := range idleConns {
			ping(i)
		}
	}
}
