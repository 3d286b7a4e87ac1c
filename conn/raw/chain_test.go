package raw_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// hop passes messages on.
type hop struct {
	frames
	send func([]byte) error // nil: the last
	back chan struct{}
}

func (h *hop) OnMessage(_ context.Context, _ *raw.Conn, msg []byte) {
	if h.send == nil {
		h.back <- struct{}{}
		return
	}
	_ = h.send(msg)
}

// chain returns the first link of a chain of nodes, and what tells of messages at
// its end. now: with SendNow.
func chain(b *testing.B, nodes int, now bool) (send func([]byte) error, back <-chan struct{}) {
	last := &hop{back: make(chan struct{}, 1)}
	v := last
	for range nodes {
		_, addr := listen(b, v, raw.Config{})
		c := connect(b, start(b, frames{}, raw.Config{}), addr)
		if send = c.Send; now {
			send = c.SendNow
		}
		v = &hop{send: send}
	}
	return send, last.back
}

// rawChain is that of net.Conns, with a goroutine that copies in each place.
func rawChain(b *testing.B, nodes, size int) (send func([]byte) error, back <-chan struct{}) {
	x, y := yardstick.TCP(b, nodes)
	end := make(chan struct{}, 1)
	for i := range nodes {
		go func() {
			buf := make([]byte, size)
			for {
				if _, err := io.ReadFull(y[i], buf); err != nil {
					return
				}
				if i+1 < nodes {
					_, _ = x[i+1].Write(buf)
				} else {
					end <- struct{}{}
				}
			}
		}()
	}
	return func(p []byte) error { _, err := x[0].Write(p); return err }, end
}

// BenchmarkChain passes messages along a chain of nodes, one at a time. A chain of
// two is a round trip.
func BenchmarkChain(b *testing.B) {
	for _, tt := range []struct{ nodes, size int }{{2, 128}, {10, 5}, {100, 5}} {
		for _, now := range []bool{false, true} {
			name := fmt.Sprintf("nodes=%d/size=%d/now=%t", tt.nodes, tt.size, now)
			b.Run(name, func(b *testing.B) {
				msg := make([]byte, tt.size)
				rawSend, rawBack := rawChain(b, tt.nodes, tt.size)
				send, back := chain(b, tt.nodes, now)
				var rawTook, took time.Duration
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					rawTook += pass(b, rawSend, rawBack, msg)
					took += pass(b, send, back, msg)
				}
				ofRaw(b, rawTook, took)
				b.ReportMetric(float64(b.N*tt.nodes)/took.Seconds(), "hops/s")
			})
		}
	}
}

// pass sends a message down a chain, and returns how long it took.
func pass(b *testing.B, send func([]byte) error, back <-chan struct{}, msg []byte) time.Duration {
	began := time.Now()
	if err := send(msg); err != nil {
		b.Fatal(err)
	}
	<-back
	return time.Since(began)
}
