package endpoint_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/internal/faultproxy"
)

// The channel moves from TCP to QUIC to WebSocket and on while messages go both
// ways: nothing is lost, and no move is taken for a restart or for silence.
func TestSwapsTransports(t *testing.T) {
	before := goleak.IgnoreCurrent()
	const messages, moves = 30000, 60
	cfg := endpoint.Config{MaxMessage: 64 << 10, Window: 128 << 10}
	calls := make(chan int, moves)
	to := [2]*checker{}
	for i := range to {
		to[i] = &checker{t: t, sum: newLetterer(3, 1-i).sum, want: messages, done: make(chan struct{}), at: map[uint64]int{}, cuts: calls}
	}
	for k := range moves {
		to[k%2].at[uint64((k+1)*messages/(moves+1))] = k
	}
	cfg.Receive = to[0].take
	r := newRide(t, "tcp", 1, cfg, to[1].take)
	if err := r.connect(); err != nil {
		t.Fatal(err)
	}
	roads := []*road{newRoad(t, "quic", 1), newRoad(t, "ws", 1), r.road}
	for _, other := range roads[:2] {
		side := &ride{road: other, t: t, ends: r.ends, ctx: r.ctx}
		r.tasks.Go(func() { side.accept(); side.tasks.Wait() })
	}
	for i := range r.ends {
		from := newLetterer(3, i)
		r.tasks.Go(func() {
			for n := range uint64(messages) {
				if err := r.ends[i].Send(r.ctx, from.next(n+1)); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		})
	}
	for range moves {
		k := <-calls
		c, err := roads[k%3].dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ends[0].Carry(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if on := r.ends[0].Conn(); on == nil || on.LocalAddr().Scheme != c.LocalAddr().Scheme {
			t.Errorf("move %d: the endpoint is not on %s", k, c.LocalAddr())
		}
	}
	<-to[0].done
	<-to[1].done
	for i, e := range r.ends {
		if err := e.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if s := e.Stats(); s.Connections < moves || s.Silences != 0 || s.Restarts != 0 || s.Received != messages || s.Waiting != 0 {
			t.Errorf("end %d: %+v", i, s)
		}
	}
	for _, other := range roads[:2] {
		other.l.Close()
	}
	r.finish()
	for _, other := range roads[:2] {
		other.end(t)
	}
	goleak.VerifyNone(t, before)
}

// Eight endpoints move between four workers all the time, while connections are
// cut.
func TestWorkersUnderCuts(t *testing.T) {
	before := goleak.IgnoreCurrent()
	const channels, messages, every, cuts = 8, 4000, 20, 5
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	workers := make([]*endpoint.Worker, 4)
	for i := range workers {
		workers[i] = endpoint.NewWorker(ctx)
	}
	var rides [channels]*ride
	var checks [channels]*checker
	for k := range rides {
		calls := make(chan int, cuts)
		check := &checker{t: t, sum: newLetterer(0, 0).sum, want: messages, done: make(chan struct{}), at: map[uint64]int{}, cuts: calls}
		for i := range cuts {
			check.at[uint64((i+1)*messages/(cuts+1))] = i
		}
		rng := rand.New(rand.NewPCG(uint64(k), 1))
		var r *ride
		r = newRide(t, "mem", uint64(k), impatient(), func(p []byte) {
			check.take(p)
			select {
			case <-calls:
				r.breaks[0].do(nil, faultproxy.Up)
			default:
			}
		})
		r.tasks.Go(r.keep)
		rides[k], checks[k] = r, check
		r.tasks.Go(func() {
			p := make([]byte, 300)
			for n := range uint64(messages) {
				if n%every == 0 {
					r.ends[n/every%2].SetWorker(append(workers, nil)[rng.IntN(5)])
				}
				if err := r.ends[0].Send(ctx, append(binary.BigEndian.AppendUint64(nil, n+1), p...)); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		})
	}
	for k, r := range rides {
		<-checks[k].done
		r.finish()
		if s := r.ends[1].Stats(); s.Received != messages || s.Connections < cuts {
			t.Errorf("channel %d: %+v", k, s)
		}
	}
	goleak.VerifyNone(t, before)
}
