// Package serve serves calls.
package serve

import (
	"context"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/rpc"
)

var (
	sum  = rpc.NewMethod[int, int]("sum")
	sum2 = rpc.NewMethod[int, int]("sum2")
	sum3 = rpc.NewMethod[int, int]("sum3")
)

type server struct{ calls *rpc.Server }

func serve(s *rpc.Server, other *server) {
	start := time.Now()
	sum.Handle(s, func(ctx context.Context, n int) (int, error) {
		return n + int(time.Since(start)), nil // want `time.Since tells real time: use Now of the agent$`
	})
	sum2.HandleWith(s, rpc.Options{}, named)
	s.HandleRaw("raw", rpc.Options{}, other.raw)
	variable := func(ctx context.Context, n int) (int, error) {
		<-ctx.Done() // want `receiving from a channel waits`
		return n, nil
	}
	sum3.Within(time.Second).Handle(s, variable)
}

func named(ctx context.Context, n int) (int, error) {
	helper()
	ctx, stop := context.WithTimeout(ctx, 1) // want `context.WithTimeout ends in real time`
	defer stop()
	return n, context.Cause(ctx)
}

func helper() { time.Sleep(1) } // want `time.Sleep runs on real time: .* \(called from a function given to sum2.HandleWith\)`

func (s *server) raw(ctx context.Context, req []byte) ([]byte, error) {
	time.Sleep(1) // want `time.Sleep`
	return req, nil
}

// Elsewhere it is no business of the simulator's.
func (s *server) elsewhere() { time.Sleep(1) }

// What runs on a behaviour's turn.
func turn(ctx context.Context, a *agent.Behavior, c *rpc.Client) {
	time.Sleep(1)
	_ = a.Do(ctx, func() { time.Sleep(1) })                        // want `time.Sleep`
	_ = sum.Go(c, sumRoute, 1, func(int, error) { time.Sleep(1) }) // want `time.Sleep`
}
