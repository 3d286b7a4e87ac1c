package link_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/link"
	"github.com/plexus-net/plexus/internal/yardstick"
)

type bytesConfig = link.Config[[]byte, []byte]

// BenchmarkOneWay compares links with the yardstick: for small messages a
// hand-written double buffer that is flushed when idle, from 32 KiB on plain
// writes of the net.Conn.
func BenchmarkOneWay(b *testing.B) {
	for _, conns := range []int{1, 10, 100} {
		for _, size := range []int{1, 16, 128, 256, 4096, 32 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("conns=%d/size=%d", conns, size), func(b *testing.B) {
				raw := yardstick.Lanes(yardstick.TCP(b, conns))
				var out, in []*link.Link[[]byte, []byte]
				for range conns {
					x, y := linkPair(b, bytesConfig{Codec: link.Borrowed{}})
					out, in = append(out, x), append(in, y)
				}
				yardstick.ByTurns(b, size, conns, yardstick.Messages(b, raw, size),
					func(each int) time.Duration { return linkMessages(b, out, in, size, each) })
				if s := out[0].Stats(); s.MessagesSent > 0 {
					b.ReportMetric(float64(s.Writes)/float64(s.MessagesSent), "writes/message")
				}
			})
		}
	}
}

// linkMessages sends messages on each of the links and returns when all have come.
func linkMessages(b *testing.B, out, in []*link.Link[[]byte, []byte], size, each int) time.Duration {
	payload := make([]byte, size)
	var work sync.WaitGroup
	start := time.Now()
	for i := range out {
		work.Go(func() {
			for range each {
				if p, err := in[i].Recv(noContext); err != nil || len(p) != size {
					b.Errorf("%d bytes, %v", len(p), err)
					return
				}
			}
		})
		work.Go(func() {
			for range each {
				if err := out[i].Send(noContext, payload); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	return time.Since(start)
}

// BenchmarkRoundTrip compares a message that goes to and fro with writing and
// reading the net.Conn: as usual, and with BusyPoll at both ends.
func BenchmarkRoundTrip(b *testing.B) {
	const size = 128
	for _, c := range []struct {
		name string
		spin time.Duration
	}{{"netpoll", 0}, {"busypoll", 50 * time.Microsecond}} {
		b.Run(c.name, func(b *testing.B) {
			rawX, rawY := tcpPair(b)
			x, y := linkPair(b, bytesConfig{Codec: link.Borrowed{}, BusyPoll: c.spin})
			yardstick.RoundTrips(b, yardstick.PingPong(b, rawX, rawY, size), func(n int) time.Duration { return linkTrips(b, x, y, size, n) })
		})
	}
}

// linkTrips lets n messages go there and back.
func linkTrips(b *testing.B, x, y *link.Link[[]byte, []byte], size, n int) time.Duration {
	start := time.Now()
	var work sync.WaitGroup
	work.Go(func() {
		for range n {
			p, err := y.Recv(noContext)
			if err == nil {
				err = y.Send(noContext, p)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	payload := make([]byte, size)
	for range n {
		if err := x.Send(noContext, payload); err != nil {
			b.Fatal(err)
		}
		if _, err := x.Recv(noContext); err != nil {
			b.Fatal(err)
		}
	}
	work.Wait()
	return time.Since(start)
}

// BenchmarkIdleMemory reports the heap and stacks that a connection costs, both
// ends together, each with a goroutine that waits for the next message, after
// it has carried 1 MiB each way.
func BenchmarkIdleMemory(b *testing.B) {
	const count = 200
	large := make([]byte, 1<<20)
	measure := func(b *testing.B, connect func(wait *sync.WaitGroup) (closers [2]io.Closer)) {
		for b.Loop() {
			var wait sync.WaitGroup
			before := yardstick.Memory()
			var open []io.Closer
			for range count {
				c := connect(&wait)
				open = append(open, c[:]...)
			}
			b.ReportMetric(float64(yardstick.Memory()-before)/count/1024, "KiB/connection")
			for _, c := range open {
				_ = c.Close() // the other end may have ended it
			}
			wait.Wait()
		}
	}
	b.Run("raw", func(b *testing.B) {
		measure(b, func(wait *sync.WaitGroup) [2]io.Closer {
			x, y := tcpPair(b)
			for _, c := range []net.Conn{x, y} {
				wait.Go(func() { _, _ = c.Read(make([]byte, 4096)) }) // ends when closed
			}
			return [2]io.Closer{x, y}
		})
	})
	b.Run("link", func(b *testing.B) {
		measure(b, func(wait *sync.WaitGroup) [2]io.Closer {
			x, y := linkPair(b, bytesConfig{Codec: link.Borrowed{}})
			var carried sync.WaitGroup
			for _, l := range []*link.Link[[]byte, []byte]{x, y} {
				carried.Add(1)
				wait.Go(func() {
					_, err := l.Recv(noContext)
					carried.Done()
					if err == nil {
						_, _ = l.Recv(noContext) // ends when closed
					}
				})
			}
			for _, l := range []*link.Link[[]byte, []byte]{x, y} {
				must(b, l.Send(noContext, large))
			}
			carried.Wait()
			return [2]io.Closer{x, y}
		})
	})
}
