package raw_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/internal/yardstick"
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

// BenchmarkRoundTrip sends a message there and back on one connection, in turns
// with net.Conns that write and read the same number of bytes. Both have one
// goroutine that reads at either end. Send leaves writing to another; SendNow writes
// by itself, too.
func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{128, 4096} {
		for _, tt := range []struct {
			name string
			send func(*raw.Conn, []byte) error
		}{{"Send", (*raw.Conn).Send}, {"SendNow", (*raw.Conn).SendNow}} {
			b.Run(fmt.Sprintf("%s/size=%d", tt.name, size), func(b *testing.B) {
				x, y := yardstick.TCP(b, 1)
				_, addr := listen(b, &rally{send: tt.send, left: -1}, raw.Config{})
				serve := &rally{send: tt.send, ended: make(chan struct{}, 1)}
				c := connect(b, start(b, serve, raw.Config{}), addr)
				msg := make([]byte, size)
				yardstick.RoundTrips(b, yardstick.PingPong(b, x[0], y[0], size+4), func(n int) time.Duration {
					began := time.Now()
					serve.left = n - 1
					if err := tt.send(c, msg); err != nil {
						b.Fatal(err)
					}
					<-serve.ended
					return time.Since(began)
				})
			})
		}
	}
}
