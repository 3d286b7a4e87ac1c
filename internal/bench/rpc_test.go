package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// A calc serves a raw and a typed method.
type calc struct{ rpc.Server }

func (*calc) OnMessage(*agent.Behavior, *conn.Message) {}

type sumRequest struct{ A, B int64 }

type sumReply struct{ Sum int64 }

var sum = rpc.NewMethod[sumRequest, sumReply]("sum")

// BenchmarkRPC calls a neighbour, with 1 and with 64 calls under way: 128 raw
// bytes to a function that runs inline, and msgpack to one with a goroutine of
// its own.
func BenchmarkRPC(b *testing.B) {
	for _, transport := range transports {
		client, to := rpcPair(b, transport)
		payload := make([]byte, 128)
		calls := map[string]func() error{
			"raw": func() error {
				_, err := client.CallRaw(context.Background(), to, "echo", payload)
				return err
			},
			"typed": func() error {
				reply, err := sum.Call(context.Background(), client, to, sumRequest{2, 3})
				if err == nil && reply.Sum != 5 {
					err = fmt.Errorf("2 + 3 is %d", reply.Sum)
				}
				return err
			},
		}
		for _, name := range []string{"raw", "typed"} {
			for _, n := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%s/%d", transport, name, n), func(b *testing.B) { callAll(b, n, func(int) error { return calls[name]() }) })
			}
		}
	}
}

func rpcPair(b *testing.B, transport string) (*rpc.Client, router.Route) {
	b.Helper()
	s := &calc{}
	s.HandleRaw("echo", rpc.Options{Inline: true}, func(_ context.Context, p []byte) ([]byte, error) { return p, nil })
	sum.Handle(&s.Server, func(_ context.Context, q sumRequest) (sumReply, error) { return sumReply{q.A + q.B}, nil })
	client := rpc.NewClient()
	x := start(b, transport, map[identity.ServiceID]behavior.Behavior{99: client})
	y := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: s})
	x.connect(b, y)
	return client, router.ToNode(y.Self()).At(service)
}

// callAll makes b.N calls, n at a time: call is told which of the n makes it.
func callAll(b *testing.B, n int, call func(caller int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
