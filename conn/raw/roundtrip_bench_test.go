package raw_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
)

// A rally sends a message back so many times, and tells of the next one.
type rally struct {
	frames
	send  func(*raw.Conn, []byte) error
	left  int // negative: for ever
	ended chan struct{}
}

func (r *rally) OnMessage(_ context.Context, c *raw.Conn, msg []byte) {
	if r.left == 0 {
		r.ended <- struct{}{}
		return
	}
	r.left--
	_ = r.send(c, msg)
}

// echoAll sends back what comes, in pieces of one size.
func echoAll(c net.Conn, size int) {
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// BenchmarkRoundTrip sends a message there and back on one connection, a hundred
// times, in turns with net.Conns that write and read the same number of bytes.
// Both have one goroutine that reads at either end. Send leaves writing to
// another; SendNow writes by itself, too.
func BenchmarkRoundTrip(b *testing.B) {
	const turn = 100
	for _, size := range []int{128, 4096} {
		for _, tt := range []struct {
			name string
			send func(*raw.Conn, []byte) error
		}{{"Send", (*raw.Conn).Send}, {"SendNow", (*raw.Conn).SendNow}} {
			b.Run(fmt.Sprintf("%s/size=%d", tt.name, size), func(b *testing.B) {
				x, y := tcpPairs(b, 1)
				go echoAll(y[0], size+4)
				framed, msg := make([]byte, size+4), make([]byte, size)
				rawRounds := func() {
					for range turn {
						if _, err := x[0].Write(framed); err != nil {
							b.Fatal(err)
						}
						if _, err := io.ReadFull(x[0], framed); err != nil {
							b.Fatal(err)
						}
					}
				}
				_, addr := listen(b, &rally{send: tt.send, left: -1}, raw.Config{})
				serve := &rally{send: tt.send, ended: make(chan struct{}, 1)}
				c := connect(b, start(b, serve, raw.Config{}), addr)
				rounds := func() {
					serve.left = turn - 1
					if err := tt.send(c, msg); err != nil {
						b.Fatal(err)
					}
					<-serve.ended
				}
				rounds()
				rawRounds()
				var rawTook, took time.Duration
				b.ReportAllocs()
				b.ResetTimer()
				for range max(1, b.N/turn) {
					began := time.Now()
					rawRounds()
					between := time.Now()
					rounds()
					rawTook += between.Sub(began)
					took += time.Since(between)
				}
				b.ReportMetric(took.Seconds()/rawTook.Seconds(), "time-of-raw")
			})
		}
	}
}
