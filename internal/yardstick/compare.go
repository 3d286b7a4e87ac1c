package yardstick

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A turn of one side carries so much in all its lanes, but at least minEach messages
// in each.
const (
	turnBytes  = 64 << 20
	turnWrites = 50_000
	minEach    = 4
)

// A Lane is one way from a writer to a reader.
type Lane struct {
	W io.Writer
	R io.Reader
}

// Lanes returns a lane from each writer to the reader that belongs to it.
func Lanes[W io.Writer, R io.Reader](w []W, r []R) []Lane {
	lanes := make([]Lane, len(w))
	for i := range lanes {
		lanes[i] = Lane{w[i], r[i]}
	}
	return lanes
}

// Compare makes b.N writes of a size over lanes, and as many over the bare ones, by
// turns. What b reports is about the lanes alone; "of-raw" is their rate in parts of
// that of the bare ones.
func Compare(b *testing.B, size int, raw, lanes []Lane) {
	b.Helper()
	bare, ours := newCarrier(raw, size), newCarrier(lanes, size)
	ByTurns(b, size, len(lanes), func(each int) time.Duration { return bare.carry(b, each) },
		func(each int) time.Duration { return ours.carry(b, each) })
}

// ByTurns is Compare for what is no Lane: raw and ours send so many messages on each
// of a number of connections, and return how long that took.
func ByTurns(b *testing.B, size, conns int, raw, ours func(each int) time.Duration) {
	b.Helper()
	turn := max(minEach, min(turnBytes/size, turnWrites)/conns)
	raw(turn) // both are warm
	ours(turn)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	var rawTook, took time.Duration
	messages := 0
	for i := 0; messages < b.N; i++ {
		each := min(turn, max(1, (b.N-messages)/conns))
		if i%2 == 0 {
			rawTook += raw(each)
		}
		b.StartTimer()
		took += ours(each)
		b.StopTimer()
		if i%2 == 1 {
			rawTook += raw(each)
		}
		messages += each * conns
	}
	b.ReportMetric(rawTook.Seconds()/took.Seconds(), "of-raw")
	b.ReportMetric(float64(messages)/took.Seconds(), "msg/s")
}

// A carrier is lanes, and buffers for them.
type carrier struct {
	lanes []Lane
	p     []byte   // is written
	read  [][]byte // for each lane
}

func newCarrier(lanes []Lane, size int) *carrier {
	c := &carrier{lanes: lanes, p: make([]byte, size)}
	for range lanes {
		c.read = append(c.read, make([]byte, bufBytes))
	}
	return c
}

// carry makes writes on each of the lanes and returns when all has been read.
func (c *carrier) carry(b testing.TB, each int) time.Duration {
	var work sync.WaitGroup
	start := time.Now()
	for i, l := range c.lanes {
		work.Go(func() {
			for left := each * len(c.p); left > 0; {
				n, err := l.R.Read(c.read[i][:min(bufBytes, left)])
				if left -= n; err != nil {
					b.Error(err)
					return
				}
			}
		})
		work.Go(func() {
			for range each {
				if _, err := l.W.Write(c.p); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	return time.Since(start)
}

// Carry makes n writes of a size on a lane, and returns when all has been read.
func Carry(b testing.TB, l Lane, size, n int) { newCarrier([]Lane{l}, size).carry(b, n) }

// Messages returns what sends messages on each of the lanes, as one would by hand,
// and returns when all have been read: small ones in frames through a [Writer] that
// yields, from 32 KiB on with a write each.
func Messages(b testing.TB, lanes []Lane, size int) func(each int) time.Duration {
	c := newCarrier(lanes, size)
	if size >= 32<<10 {
		return func(each int) time.Duration { return c.carry(b, each) }
	}
	var out []*Writer
	for _, l := range lanes {
		w := NewWriter(l.W, header, true)
		b.Cleanup(w.Close)
		out = append(out, w)
	}
	return func(each int) time.Duration {
		var work sync.WaitGroup
		start := time.Now()
		for i, l := range lanes {
			work.Go(func() {
				left := each
				if err := Read(l.R, header, c.read[i], func([]byte) bool { left--; return left > 0 }); err != nil {
					b.Error(err)
				}
			})
			work.Go(func() {
				for range each {
					out[i].Send(c.p)
				}
			})
		}
		work.Wait()
		return time.Since(start)
	}
}

// header is that of frames of Messages.
const header = 4

// RoundTrips lets b.N messages go there and back with ours, which returns how long
// it took for n, and as many with raw, by turns. What b reports is about ours alone;
// "x-raw" is its time in multiples of that of raw.
func RoundTrips(b *testing.B, raw, ours func(n int) time.Duration) {
	b.Helper()
	const turn = 100
	raw(turn) // both are warm
	ours(turn)
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	var rawTook, took time.Duration
	for left := b.N; left > 0; left -= turn {
		n := min(left, turn)
		rawTook += raw(n)
		b.StartTimer()
		took += ours(n)
		b.StopTimer()
	}
	b.ReportMetric(took.Seconds()/rawTook.Seconds(), "x-raw")
}

// PingPong returns what lets n messages of a size go there and back over two ends of
// a stream.
func PingPong(b testing.TB, x, y io.ReadWriter, size int) func(n int) time.Duration {
	return func(n int) time.Duration {
		var work sync.WaitGroup
		start := time.Now()
		for i, s := range []io.ReadWriter{x, y} {
			work.Go(func() {
				p := make([]byte, size)
				for turn := range 2 * n {
					var err error
					if turn%2 == i {
						_, err = s.Write(p)
					} else {
						_, err = io.ReadFull(s, p)
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		work.Wait()
		return time.Since(start)
	}
}

// TCP returns the ends of n bare TCP connections, which are closed with b.
func TCP(b testing.TB, n int) (x, y []net.Conn) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for range n {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		s, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		x, y = append(x, c), append(y, s)
	}
	return x, y
}

// Memory returns the bytes of heap and stacks in use, after a collection.
func Memory() int64 {
	for range 3 { // pools are empty after the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
