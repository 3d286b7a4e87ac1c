package batch_test

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/internal/batch"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// BenchmarkOneWay compares a Writer and a Reader with a hand-written double
// buffer whose flusher is parked while idle, and reports the ratio.
func BenchmarkOneWay(b *testing.B) {
	for _, size := range []int{1, 16, 128, 256, 4096, 32768} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			payload := make([]byte, size)
			raw := oneWay(b, size, func(c net.Conn) (func(), func()) {
				y := yardstick.NewWriter(c, 4, true)
				return func() { y.Send(payload) }, y.Close
			})
			b.ResetTimer()
			own := oneWay(b, size, func(c net.Conn) (func(), func()) {
				w := batch.New(c, batch.Config{})
				var head [4]byte
				binary.BigEndian.PutUint32(head[:], uint32(size))
				return func() {
					for w.AppendRef(head[:], payload, nil) == batch.ErrFull {
						if err := w.WaitRoom(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				}, func() {}
			})
			b.ReportMetric(raw.Seconds()/own.Seconds(), "of-raw")
		})
	}
}

// BenchmarkRoundTrip compares starting a goroutine for each batch with waking
// a parked one, for a frame that goes to and fro.
func BenchmarkRoundTrip(b *testing.B) {
	const size = 128
	run := func(b *testing.B, sender func(net.Conn) (func([]byte), func())) time.Duration {
		x, y := pair(b)
		xs, xc := sender(x)
		ys, yc := sender(y)
		defer func() { xc(); yc() }()
		var work sync.WaitGroup
		frame := make([]byte, size)
		work.Go(func() {
			p := make([]byte, size)
			for range b.N {
				if _, err := io.ReadFull(y, p); err != nil {
					b.Error(err)
					return
				}
				ys(p)
			}
		})
		start := time.Now()
		p := make([]byte, size)
		for range b.N {
			xs(frame)
			if _, err := io.ReadFull(x, p); err != nil {
				b.Fatal(err)
			}
		}
		work.Wait()
		return time.Since(start)
	}
	direct := run(b, func(c net.Conn) (func([]byte), func()) {
		return func(p []byte) { _, _ = c.Write(p) }, func() {}
	})
	parked := run(b, func(c net.Conn) (func([]byte), func()) {
		y := yardstick.NewWriter(c, 0, true)
		return y.Send, y.Close
	})
	b.ResetTimer()
	own := run(b, func(c net.Conn) (func([]byte), func()) {
		w := batch.New(c, batch.Config{})
		return func(p []byte) { _ = w.Append(p) }, func() {}
	})
	b.ReportMetric(own.Seconds()/direct.Seconds(), "of-direct")
	b.ReportMetric(own.Seconds()/parked.Seconds(), "of-parked")
}

func oneWay(b *testing.B, size int, sender func(net.Conn) (send, end func())) time.Duration {
	x, y := pair(b)
	send, end := sender(x)
	var work sync.WaitGroup
	work.Go(func() {
		r := batch.NewReader(y)
		for left := b.N; left > 0; {
			p := r.Bytes()
			used, need := 0, 0
			for len(p)-used >= 4 {
				n := 4 + int(binary.BigEndian.Uint32(p[used:]))
				if need = n; len(p)-used < n {
					break
				}
				used += n
				left--
			}
			r.Discard(used)
			if left == 0 {
				return
			}
			if err := r.Fill(need); err != nil {
				b.Error(err)
				return
			}
		}
	})
	start := time.Now()
	for range b.N {
		send()
	}
	work.Wait()
	t := time.Since(start)
	end()
	return t
}

func pair(b testing.TB) (x, y net.Conn) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if x, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if y, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}
