package bench

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/router"
)

// BenchmarkOneWay sends messages from one node to another.
func BenchmarkOneWay(b *testing.B) {
	for _, transport := range transports {
		for _, size := range []int{64, 1024, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%d/yardstick", transport, size), func(b *testing.B) { yardOneWay(b, transport, size) })
			b.Run(fmt.Sprintf("%s/%d/handler", transport, size), func(b *testing.B) { plexusOneWay(b, transport, size, true) })
			b.Run(fmt.Sprintf("%s/%d/behavior", transport, size), func(b *testing.B) { plexusOneWay(b, transport, size, false) })
		}
	}
}

func yardOneWay(b *testing.B, transport string, size int) {
	c, s := yards(b, transport, false)
	done := make(chan struct{})
	n := 0
	go s.receive(func(p []byte) {
		if n++; n == b.N {
			close(done)
		}
	})
	payload := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		c.Send(payload)
	}
	<-done
	rate(b)
}

func plexusOneWay(b *testing.B, transport string, size int, handlers bool) {
	client, server := newMeter(handlers), newMeter(handlers)
	c := join(b, transport, client, server)
	payload := make([]byte, size)
	ctx := context.Background()
	to := router.ToConn(c.ID)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := client.a.Send(to, 1, payload); err != nil {
			if !errors.Is(err, agent.ErrQueueFull) {
				b.Fatal(err)
			}
			if err := client.a.SendWait(ctx, to, 1, payload); err != nil {
				b.Fatal(err)
			}
		}
	}
	for server.count.Load() < int64(b.N) {
		time.Sleep(50 * time.Microsecond)
	}
	rate(b)
}

// BenchmarkRoundTrip sends 128 bytes and waits for them to come back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, transport := range transports {
		b.Run(transport+"/yardstick", func(b *testing.B) {
			c, s := yards(b, transport, false)
			go s.receive(s.Send)
			back := make(chan struct{}, 1)
			go c.receive(func([]byte) { back <- struct{}{} })
			payload := make([]byte, 128)
			b.ResetTimer()
			for range b.N {
				c.Send(payload)
				<-back
			}
		})
		b.Run(transport+"/handler", func(b *testing.B) { plexusRoundTrip(b, transport) })
	}
}

func plexusRoundTrip(b *testing.B, transport string) {
	client, server := newMeter(true), newMeter(true)
	server.echo = true
	c := join(b, transport, client, server)
	payload := make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := client.a.Send(router.ToConn(c.ID), 1, payload); err != nil {
			b.Fatal(err)
		}
		<-client.pong
	}
}

// BenchmarkDurable sends messages between handlers over plain and over durable
// connections.
func BenchmarkDurable(b *testing.B) {
	for _, transport := range []string{"tcp", "tcp-durable", "quic", "quic-durable"} {
		for _, size := range []int{64, 1024, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%d", transport, size), func(b *testing.B) { plexusOneWay(b, transport, size, true) })
		}
		b.Run(transport+"/roundtrip", func(b *testing.B) { plexusRoundTrip(b, transport) })
	}
}
