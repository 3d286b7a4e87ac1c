package rpc_test

import (
	"context"
	"testing"

	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

type sumRequest struct{ A, B int }

type sumReply struct{ Sum int }

var sum = rpc.NewMethod[sumRequest, sumReply]("sum")

func add(_ context.Context, r sumRequest) (sumReply, error) { return sumReply{r.A + r.B}, nil }

func echo(_ context.Context, req []byte) ([]byte, error) { return req, nil }

// benchmarkCalls makes calls over one connection, so many at a time.
func benchmarkCalls(b *testing.B, o rpc.Options, outstanding int, call func(c *rpc.Client, to router.Route) error) {
	f := newFabric(b)
	alice, bob := f.node("alice"), f.node("bob")
	client, server := rpc.NewClient(), &rpc.Server{}
	sum.HandleWith(server, o, add)
	server.HandleRaw("echo", o, echo)
	alice.serve(90, client)
	bob.serve(70, server)
	f.connect(alice, bob)
	to := router.ToNode(bob.id).At(70)
	b.ReportAllocs()
	b.ResetTimer()
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	done := make(chan error, outstanding)
	for range outstanding {
		go func() {
			var err error
			for range left {
				if e := call(client, to); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for range outstanding {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func BenchmarkCall(b *testing.B) {
	payload := make([]byte, 64)
	raw := func(c *rpc.Client, to router.Route) error {
		_, err := c.CallRaw(context.Background(), to, "echo", payload)
		return err
	}
	typed := func(c *rpc.Client, to router.Route) error {
		_, err := sum.Call(context.Background(), c, to, sumRequest{2, 3})
		return err
	}
	for _, v := range []struct {
		name        string
		options     rpc.Options
		outstanding int
		call        func(c *rpc.Client, to router.Route) error
	}{
		{"raw/inline/1", rpc.Options{Inline: true}, 1, raw},
		{"raw/inline/64", rpc.Options{Inline: true}, 64, raw},
		{"raw/goroutine/1", rpc.Options{}, 1, raw},
		{"raw/goroutine/64", rpc.Options{}, 64, raw},
		{"typed/inline/64", rpc.Options{Inline: true}, 64, typed},
		{"typed/goroutine/64", rpc.Options{}, 64, typed},
	} {
		b.Run(v.name, func(b *testing.B) { benchmarkCalls(b, v.options, v.outstanding, v.call) })
	}
}
