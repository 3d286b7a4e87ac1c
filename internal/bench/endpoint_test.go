package bench

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// carriers returns the two ends of a connection over a transport, and the keys
// of their nodes.
func carriers(b testing.TB, transport string) (ends [2]conn.Conn, keys [2]identity.PrivateKey) {
	b.Helper()
	for i := range keys {
		key, err := identity.Generate()
		if err != nil {
			b.Fatal(err)
		}
		keys[i] = key
	}
	fresh := func() conn.Transport { return tcp.New() }
	if transport == "quic" {
		fresh = func() conn.Transport { return quic.New() }
	}
	from, to := fresh(), fresh()
	ctx := context.Background()
	l, err := to.Listen(ctx, conn.Local{Key: keys[1]}, identity.Address{Scheme: transport, Host: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	if ends[0], err = from.Dial(ctx, conn.Local{Key: keys[0]}, keys[1].ID(), l.Addr()); err != nil {
		b.Fatal(err)
	}
	if ends[1], err = l.Accept(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		for _, c := range ends {
			c.Close(nil)
		}
		if err := errors.Join(from.Close(), to.Close()); err != nil {
			b.Error(err)
		}
	})
	return ends, keys
}

// endpoints returns the two ends of a durable channel over a transport.
func endpoints(b testing.TB, transport string, receive [2]func([]byte)) (ends [2]*endpoint.Endpoint) {
	b.Helper()
	conns, keys := carriers(b, transport)
	ctx := context.Background()
	for i := range ends {
		e, err := endpoint.New(ctx, keys[i].ID(), keys[1-i].ID(), endpoint.Config{Receive: receive[i]})
		if err != nil {
			b.Fatal(err)
		}
		ends[i] = e
		b.Cleanup(func() {
			stopped, stop := context.WithCancel(ctx)
			stop()
			e.Close(stopped, nil)
		})
	}
	done := make(chan error, 1)
	go func() { done <- ends[1].Carry(ctx, conns[1]) }()
	if err := errors.Join(ends[0].Carry(ctx, conns[0]), <-done); err != nil {
		b.Fatal(err)
	}
	return ends
}

// BenchmarkEndpoint sends messages over a durable endpoint, beside the yardstick
// over the same kind of connection.
func BenchmarkEndpoint(b *testing.B) {
	for _, transport := range []string{"tcp", "quic"} {
		for _, size := range []int{16, 256, 4096, 32 << 10} {
			b.Run(fmt.Sprintf("%s/%d/connection", transport, size), func(b *testing.B) {
				conns, _ := carriers(b, transport)
				from, to := newYard(conns[0], conns[0], false), newYard(conns[1], conns[1], false)
				b.Cleanup(from.close)
				b.Cleanup(to.close)
				done := make(chan struct{})
				n := 0
				go to.receive(func([]byte) {
					if n++; n == b.N {
						close(done)
					}
				})
				oneWay(b, size, done, func(p []byte) error { from.send(p); return nil })
			})
			b.Run(fmt.Sprintf("%s/%d/receive", transport, size), func(b *testing.B) {
				done := make(chan struct{})
				n := 0
				ends := endpoints(b, transport, [2]func([]byte){1: func([]byte) {
					if n++; n == b.N {
						close(done)
					}
				}})
				ctx := context.Background()
				oneWay(b, size, done, func(p []byte) error { return ends[0].Send(ctx, p) })
			})
			b.Run(fmt.Sprintf("%s/%d/recv", transport, size), func(b *testing.B) {
				done := make(chan struct{})
				ends := endpoints(b, transport, [2]func([]byte){})
				ctx := context.Background()
				go func() {
					defer close(done)
					for range b.N {
						if _, err := ends[1].Recv(ctx); err != nil {
							b.Error(err)
							return
						}
					}
				}()
				oneWay(b, size, done, func(p []byte) error { return ends[0].Send(ctx, p) })
			})
		}
	}
}

// oneWay sends b.N messages and waits until they have come.
func oneWay(b *testing.B, size int, done <-chan struct{}, send func([]byte) error) {
	payload := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := send(payload); err != nil {
			b.Fatal(err)
		}
	}
	<-done
	rate(b)
}

// BenchmarkEndpointRoundTrip sends 128 bytes and waits for them to come back.
func BenchmarkEndpointRoundTrip(b *testing.B) {
	for _, transport := range []string{"tcp", "quic"} {
		payload := make([]byte, 128)
		b.Run(transport+"/connection", func(b *testing.B) {
			conns, _ := carriers(b, transport)
			from, to := newYard(conns[0], conns[0], false), newYard(conns[1], conns[1], false)
			b.Cleanup(from.close)
			b.Cleanup(to.close)
			back := make(chan struct{}, 1)
			go to.receive(to.send)
			go from.receive(func([]byte) { back <- struct{}{} })
			b.ResetTimer()
			for range b.N {
				from.send(payload)
				<-back
			}
		})
		b.Run(transport+"/endpoint", func(b *testing.B) {
			back := make(chan struct{}, 1)
			var ends [2]*endpoint.Endpoint
			ready := make(chan struct{})
			ends = endpoints(b, transport, [2]func([]byte){
				func([]byte) { back <- struct{}{} },
				func(p []byte) {
					<-ready
					if err := ends[1].TrySend(p); err != nil {
						b.Error(err)
					}
				}})
			close(ready)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := ends[0].TrySend(payload); err != nil {
					b.Fatal(err)
				}
				<-back
			}
		})
	}
}
