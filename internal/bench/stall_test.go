package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A sleeper is a behaviour that consumes nothing until its gate is open, and
// checks that nothing is missing when it does.
type sleeper struct {
	gate   chan struct{}
	a      *agent.Behavior
	opened chan conn.Info
	got    atomic.Uint64
	gaps   atomic.Uint64
}

func newSleeper() *sleeper {
	return &sleeper{gate: make(chan struct{}), opened: make(chan conn.Info, 1)}
}

func (s *sleeper) Describe() behavior.Info { return behavior.Info{Name: "sleeper"} }

func (s *sleeper) OnStart(a *agent.Behavior) error { s.a = a; return nil }

func (s *sleeper) OnConnect(_ *agent.Behavior, c conn.Info) behavior.Handler {
	s.opened <- c
	return nil
}

func (s *sleeper) OnMessage(_ *agent.Behavior, m *conn.Message) {
	<-s.gate
	if binary.BigEndian.Uint64(m.Payload) != s.got.Load() {
		s.gaps.Add(1)
	}
	s.got.Add(1)
}

// insist sends messages of 1 KiB, and tries again and again where the window is
// used up, until ctx ends. It returns how many were taken.
func (s *sleeper) insist(ctx context.Context, to router.Route) (sent, refused uint64, err error) {
	again := time.NewTicker(200 * time.Microsecond)
	defer again.Stop()
	payload := make([]byte, 1024)
	for ctx.Err() == nil {
		binary.BigEndian.PutUint64(payload, sent)
		switch err := s.a.Send(to, 1, payload); {
		case err == nil:
			sent++
		case errors.Is(err, agent.ErrQueueFull):
			refused++
			<-again.C
		default:
			return sent, refused, err
		}
	}
	return sent, refused, nil
}

// BenchmarkStall measures round trips of 128 bytes while another service on the
// same connection has stopped to consume and its sender does not give up. The
// behaviour sleeps as long as the benchmark runs: -benchtime 10s stalls it for
// that long. Then it goes on, nothing may have been lost, and as many round
// trips are measured without the stall.
func BenchmarkStall(b *testing.B) {
	for _, transport := range transports {
		b.Run(transport, func(b *testing.B) { stall(b, transport) })
	}
}

func stall(b *testing.B, transport string) {
	const other = service + 1
	asking, asleep := newSleeper(), newSleeper()
	client, server := newMeter(true), newMeter(true)
	server.echo = true
	x := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: client, other: asking})
	y := start(b, transport, map[identity.ServiceID]behavior.Behavior{service: server, other: asleep})
	to := router.ToConn(x.connect(b, y).ID)
	<-client.opened
	<-asking.opened
	<-asleep.opened

	ctx, stop := context.WithCancel(b.Context())
	var sent, refused uint64
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sent, refused, err = asking.insist(ctx, to)
	}()
	trip := func() time.Duration {
		began := time.Now()
		if err := client.a.Send(to, 1, make([]byte, 128)); err != nil {
			b.Fatal(err)
		}
		<-client.pong
		return time.Since(began)
	}
	var stalled, free []time.Duration
	for b.Loop() {
		stalled = append(stalled, trip())
	}
	if n := asleep.got.Load(); n != 0 {
		b.Fatalf("%d messages were consumed while the behaviour slept", n)
	}
	stop()
	<-ended
	close(asleep.gate)
	for waited := 0; asleep.got.Load() < sent && waited < 100_000; waited++ {
		time.Sleep(100 * time.Microsecond)
	}
	if n := asleep.gaps.Load(); n != 0 || err != nil || asleep.got.Load() != sent {
		b.Fatalf("%d of %d messages arrived, %d out of order (%v)", asleep.got.Load(), sent, n, err)
	}
	for range stalled {
		free = append(free, trip())
	}
	b.ReportMetric(float64(refused), "refused")
	reportDelays(b, stalled, free)
}

// reportDelays reports quantiles in microseconds, and what the stall has added.
func reportDelays(b *testing.B, stalled, free []time.Duration) {
	quantile := func(all []time.Duration, percent int) float64 {
		slices.Sort(all)
		return float64(all[len(all)*percent/100].Nanoseconds()) / 1e3
	}
	for _, percent := range []int{50, 99} {
		with, without := quantile(stalled, percent), quantile(free, percent)
		name := map[int]string{50: "p50", 99: "p99"}[percent]
		b.ReportMetric(with, name+"-stalled-µs")
		b.ReportMetric(without, name+"-free-µs")
		if percent == 99 {
			b.ReportMetric(with-without, "p99-added-µs")
		}
	}
}
