package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/yardstick"
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

// arrivals tells when as many messages have come as are wanted.
type arrivals struct {
	left atomic.Int64
	all  chan struct{}
}

func newArrivals() *arrivals { return &arrivals{all: make(chan struct{}, 1)} }

func (a *arrivals) take([]byte) {
	if a.left.Add(-1) == 0 {
		a.all <- struct{}{}
	}
}

// sends returns what sends n messages and waits until they have come.
func (a *arrivals) sends(b *testing.B, size int, send func([]byte) error) func(n int) time.Duration {
	payload := make([]byte, size)
	return func(n int) time.Duration {
		a.left.Store(int64(n))
		began := time.Now()
		for range n {
			if err := send(payload); err != nil {
				b.Fatal(err)
			}
		}
		<-a.all
		return time.Since(began)
	}
}

// trips returns what sends a message and waits for it to come back, n times.
func (a *arrivals) trips(b *testing.B, size int, send func([]byte) error) func(n int) time.Duration {
	one := a.sends(b, size, send)
	return func(n int) time.Duration {
		began := time.Now()
		for range n {
			one(1)
		}
		return time.Since(began)
	}
}

// yardPair returns the yardstick over both ends of a connection.
func yardPair(b *testing.B, transport string) (from, to *yard) {
	conns, _ := carriers(b, transport)
	from, to = newYard(conns[0], false), newYard(conns[1], false)
	b.Cleanup(from.Close)
	b.Cleanup(to.Close)
	return from, to
}

func send(y *yard) func([]byte) error { return func(p []byte) error { y.Send(p); return nil } }

// BenchmarkEndpoint sends messages over a durable endpoint, beside the yardstick
// over the same kind of connection.
func BenchmarkEndpoint(b *testing.B) {
	ctx := context.Background()
	for _, transport := range []string{"tcp", "quic"} {
		for _, size := range []int{16, 256, 4096, 32 << 10} {
			compare := func(b *testing.B, came *arrivals, ends [2]*endpoint.Endpoint) {
				bare := newArrivals()
				from, to := yardPair(b, transport)
				go to.receive(bare.take)
				yardstick.ByTurns(b, size, 1, bare.sends(b, size, send(from)),
					came.sends(b, size, func(p []byte) error { return ends[0].Send(ctx, p) }))
			}
			b.Run(fmt.Sprintf("%s/%d/receive", transport, size), func(b *testing.B) {
				came := newArrivals()
				compare(b, came, endpoints(b, transport, [2]func([]byte){1: came.take}))
			})
			b.Run(fmt.Sprintf("%s/%d/recv", transport, size), func(b *testing.B) {
				came := newArrivals()
				ends := endpoints(b, transport, [2]func([]byte){})
				go func() { // ends with the endpoint
					for {
						p, err := ends[1].Recv(ctx)
						if err != nil {
							return
						}
						came.take(p)
					}
				}()
				compare(b, came, ends)
			})
		}
	}
}

// BenchmarkEndpointRoundTrip sends 128 bytes and waits for them to come back.
func BenchmarkEndpointRoundTrip(b *testing.B) {
	const size = 128
	for _, transport := range []string{"tcp", "quic"} {
		b.Run(transport, func(b *testing.B) {
			bare, came := newArrivals(), newArrivals()
			from, to := yardPair(b, transport)
			go to.receive(to.Send)
			go from.receive(bare.take)
			var ends [2]*endpoint.Endpoint
			ready := make(chan struct{})
			ends = endpoints(b, transport, [2]func([]byte){
				came.take,
				func(p []byte) {
					<-ready
					if err := ends[1].TrySend(p); err != nil {
						b.Error(err)
					}
				}})
			close(ready)
			yardstick.RoundTrips(b, bare.trips(b, size, send(from)), came.trips(b, size, ends[0].TrySend))
		})
	}
}
