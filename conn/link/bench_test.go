package link_test

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

type bytesConfig = link.Config[[]byte, []byte]

// BenchmarkOneWay compares a link with the yardstick: for small messages a
// hand-written double buffer that is flushed when idle, from 32 KiB on plain
// writes of the net.Conn.
func BenchmarkOneWay(b *testing.B) {
	for _, size := range []int{1, 16, 128, 256, 4096, 32 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			payload := make([]byte, size)
			raw := rawOneWay(b, payload)
			x, y := linkPair(b, bytesConfig{Codec: link.Borrowed{}})
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			var work sync.WaitGroup
			work.Go(func() {
				for range b.N {
					if p, err := y.Recv(b.Context()); err != nil || len(p) != size {
						b.Errorf("%d bytes, %v", len(p), err)
						return
					}
				}
			})
			for range b.N {
				if err := x.Send(noContext, payload); err != nil {
					b.Fatal(err)
				}
			}
			work.Wait()
			b.ReportMetric(raw.Seconds()/time.Since(start).Seconds(), "of-raw")
			if s := x.Stats(); s.MessagesSent > 0 {
				b.ReportMetric(float64(s.Writes)/float64(s.MessagesSent), "writes/message")
			}
		})
	}
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
			raw := rawRoundTrip(b, size)
			x, y := linkPair(b, bytesConfig{Codec: link.Borrowed{}, BusyPoll: c.spin})
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			var work sync.WaitGroup
			work.Go(func() {
				for range b.N {
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
			for range b.N {
				if err := x.Send(noContext, payload); err != nil {
					b.Fatal(err)
				}
				if _, err := x.Recv(noContext); err != nil {
					b.Fatal(err)
				}
			}
			work.Wait()
			b.ReportMetric(time.Since(start).Seconds()/raw.Seconds(), "of-raw")
		})
	}
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
			before := memory()
			var open []io.Closer
			for range count {
				c := connect(&wait)
				open = append(open, c[:]...)
			}
			b.ReportMetric(float64(memory()-before)/count/1024, "KiB/connection")
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

// memory returns the heap and stacks in use.
func memory() uint64 {
	for range 3 { // pools empty in two
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func rawRoundTrip(b *testing.B, size int) time.Duration {
	x, y := tcpPair(b)
	var work sync.WaitGroup
	echo := func(c net.Conn, n int, first bool) {
		p := make([]byte, size)
		for range n {
			if first {
				_, _ = c.Write(p) // the reading tells
			}
			if _, err := io.ReadFull(c, p); err != nil {
				b.Error(err)
				return
			}
			if !first {
				_, _ = c.Write(p)
			}
		}
	}
	start := time.Now()
	work.Go(func() { echo(y, b.N, false) })
	echo(x, b.N, true)
	work.Wait()
	return time.Since(start)
}

// rawOneWay takes the time of b.N payloads by the yardstick.
func rawOneWay(b *testing.B, payload []byte) time.Duration {
	x, y := tcpPair(b)
	send := func() { _, _ = x.Write(payload) }
	total := b.N * len(payload)
	if len(payload) < 32<<10 {
		yard := newYard(x)
		defer yard.close()
		send = func() { yard.send(payload) }
		total += 4 * b.N
	}
	var work sync.WaitGroup
	start := time.Now()
	work.Go(func() {
		if total == b.N*len(payload) {
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(y, int64(total))}, make([]byte, 256<<10)); err != nil {
				b.Error(err)
			}
			return
		}
		parse(b, y, b.N)
	})
	for range b.N {
		send()
	}
	work.Wait()
	return time.Since(start)
}

// parse reads n frames in place.
func parse(b *testing.B, c net.Conn, n int) {
	buf := make([]byte, 256<<10)
	r, w := 0, 0
	for n > 0 {
		for w-r >= 4 {
			size := 4 + int(binary.BigEndian.Uint32(buf[r:]))
			if w-r < size {
				break
			}
			r += size
			n--
		}
		if n == 0 {
			return
		}
		if r == w {
			r, w = 0, 0
		} else if len(buf)-w < len(buf)/4 {
			w = copy(buf, buf[r:w])
			r = 0
		}
		k, err := c.Read(buf[w:])
		if err != nil {
			b.Error(err)
			return
		}
		w += k
	}
}

// A yard is the yardstick: a double buffer, and a flusher that is parked while
// there is nothing to write.
type yard struct {
	w          io.Writer
	mu         sync.Mutex
	more, less sync.Cond
	buf, spare []byte
	closed     bool
}

func newYard(w io.Writer) *yard {
	y := &yard{w: w}
	y.more.L, y.less.L = &y.mu, &y.mu
	go y.flush()
	return y
}

func (y *yard) send(p []byte) {
	y.mu.Lock()
	for len(y.buf) > 256<<10 {
		y.less.Wait()
	}
	y.buf = binary.BigEndian.AppendUint32(y.buf, uint32(len(p)))
	y.buf = append(y.buf, p...)
	y.more.Signal()
	y.mu.Unlock()
}

func (y *yard) flush() {
	for {
		y.mu.Lock()
		for len(y.buf) == 0 && !y.closed {
			y.more.Wait()
		}
		if len(y.buf) == 0 {
			y.mu.Unlock()
			return
		}
		y.mu.Unlock()
		runtime.Gosched()
		y.mu.Lock()
		out := y.buf
		y.buf = y.spare[:0]
		y.less.Broadcast()
		y.mu.Unlock()
		if _, err := y.w.Write(out); err != nil {
			return
		}
		y.spare = out
	}
}

func (y *yard) close() {
	y.mu.Lock()
	y.closed = true
	y.more.Signal()
	y.mu.Unlock()
}
