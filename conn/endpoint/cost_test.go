package endpoint_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
)

// Messages take no memory of their own: neither to send, nor to receive in
// either way.
func TestAllocationsPerMessage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const batch = 1000
	message := make([]byte, 256)
	for name, receive := range map[string]bool{"Receive": true, "Recv": false} {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{}, 1)
			n := 0
			var take func([]byte)
			if receive {
				take = func([]byte) {
					if n++; n%batch == 0 {
						arrived <- struct{}{}
					}
				}
			}
			r := newRide(t, "tcp", 1, endpoint.Config{}, take)
			if err := r.connect(); err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			round := func() {
				for range batch {
					if err := r.ends[0].Send(ctx, message); err != nil {
						t.Fatal(err)
					}
				}
				if receive {
					<-arrived
					return
				}
				for range batch {
					if _, err := r.ends[1].Recv(ctx); err != nil {
						t.Fatal(err)
					}
				}
			}
			round()
			if per := testing.AllocsPerRun(50, round) / batch; per > 0.1 { // goroutines that begin to write, timers
				t.Errorf("%.3f allocations for each message", per)
			} else {
				t.Logf("%.4f allocations for each message", per)
			}
			r.finish()
		})
	}
}

// BenchmarkIdle tells what an endpoint takes that has nothing to do, beyond its
// connection.
func BenchmarkIdle(b *testing.B) {
	const pairs = 200
	ctx := context.Background()
	stopped, stop := context.WithCancel(ctx)
	stop()
	keys := [2]identity.PrivateKey{key(b, 1), key(b, 2)}
	for b.Loop() {
		from, to := tcp.New(), tcp.New()
		l, err := to.Listen(ctx, conn.Local{Key: keys[1]}, identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"})
		if err != nil {
			b.Fatal(err)
		}
		var conns [pairs][2]conn.Conn
		for i := range conns {
			if conns[i][0], err = from.Dial(ctx, conn.Local{Key: keys[0]}, keys[1].ID(), l.Addr()); err != nil {
				b.Fatal(err)
			}
			if conns[i][1], err = l.Accept(ctx); err != nil {
				b.Fatal(err)
			}
		}
		heap, stacks := memory()
		var ends [pairs][2]*endpoint.Endpoint
		for i := range ends {
			done := make(chan error, 1)
			for k := range ends[i] {
				if ends[i][k], err = endpoint.New(ctx, keys[k].ID(), keys[1-k].ID(), endpoint.Config{}); err != nil {
					b.Fatal(err)
				}
				go func() { done <- ends[i][k].Carry(ctx, conns[i][k]) }()
			}
			for range ends[i] {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			if err := ends[i][0].Send(ctx, make([]byte, 1000)); err != nil { // it has worked once
				b.Fatal(err)
			}
			if _, err := ends[i][1].Recv(ctx); err != nil {
				b.Fatal(err)
			}
			if _, err := ends[i][1].TryRecv(); err != endpoint.ErrEmpty {
				b.Fatal(err)
			}
			if err := ends[i][0].Flush(ctx); err != nil {
				b.Fatal(err)
			}
		}
		heap1, stacks1 := memory()
		b.ReportMetric(float64(heap1-heap)/(2*pairs), "heap-B/endpoint")
		b.ReportMetric(float64(stacks1-stacks)/(2*pairs), "stack-B/endpoint") // of the reader: every reader has one
		for _, pair := range ends {
			for _, e := range pair {
				_ = e.Close(stopped, nil)
			}
		}
		l.Close()
		from.Close()
		to.Close()
	}
}

// memory is what is in use on the heap, and by stacks of goroutines.
func memory() (heap, stacks int64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}
