package tcp_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// roundBytes is what each side carries in turn.
const roundBytes = 8 << 20

// BenchmarkRatio sends one way in writes of one size, by turns over a Conn and
// over what is beneath it, and reports the rate of the Conn and its ratio to the
// other: plain connections to TCP, secured ones to crypto/tls.
func BenchmarkRatio(b *testing.B) {
	for _, size := range []int{256, 32 << 10, 256 << 10} {
		b.Run("plain/"+strconv.Itoa(size), func(b *testing.B) {
			tr := tcp.NewPlain(tcp.Config{})
			b.Cleanup(func() { tr.Close() })
			x, y := pairOf(b, tr)
			rx, ry := socketPair(b)
			ratio(b, size, rx, ry, x, y)
		})
		b.Run("tls/"+strconv.Itoa(size), func(b *testing.B) {
			x, y := connPair(b)
			rx, ry := rawPair(b)
			ratio(b, size, rx, ry, x, y)
		})
	}
}

func ratio(b *testing.B, size int, rawW io.Writer, rawR io.Reader, w io.Writer, r io.Reader) {
	var raw, ours time.Duration
	one(b, size, rawW, rawR) // both are warm
	one(b, size, w, r)
	b.SetBytes(2 * roundBytes)
	b.ResetTimer()
	for i := range b.N {
		if i%2 == 0 {
			raw += one(b, size, rawW, rawR)
			ours += one(b, size, w, r)
		} else {
			ours += one(b, size, w, r)
			raw += one(b, size, rawW, rawR)
		}
	}
	b.ReportMetric(float64(b.N)*roundBytes/1e6/ours.Seconds(), "conn-MB/s")
	b.ReportMetric(raw.Seconds()/ours.Seconds(), "x-raw")
}

// one carries a round and returns how long it took.
func one(b *testing.B, size int, w io.Writer, r io.Reader) time.Duration {
	start := time.Now()
	var work sync.WaitGroup
	work.Go(func() {
		p := make([]byte, 256<<10)
		for left := roundBytes; left > 0; {
			n, err := r.Read(p)
			if left -= n; err != nil {
				b.Error(err)
				return
			}
		}
	})
	p := make([]byte, size)
	for range roundBytes / size {
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	work.Wait()
	return time.Since(start)
}

func pairOf(b *testing.B, tr *tcp.Transport) (x, y conn.Conn) {
	key, err := identity.Generate()
	if err != nil {
		b.Fatal(err)
	}
	local := conn.Local{Key: key}
	l, err := tr.Listen(context.Background(), local, identity.Address{Scheme: tr.Schemes()[0], Host: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	if x, err = tr.Dial(context.Background(), local, key.ID(), l.Addr()); err != nil {
		b.Fatal(err)
	}
	if y, err = l.Accept(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close(nil); y.Close(nil) })
	return x, y
}

func socketPair(b *testing.B) (x, y net.Conn) {
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
