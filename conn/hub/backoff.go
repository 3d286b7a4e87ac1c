package hub

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// A Backoff says how long to wait before a peer is dialled again. attempt is how
// many attempts have failed since the last that worked, from 1 on. A time that is
// negative counts as zero. One value may serve several peers: then Next is called
// from several goroutines. It must not block.
type Backoff interface {
	Next(attempt int) time.Duration
}

// Const waits the same time after every failure.
type Const time.Duration

// Next returns the time.
func (c Const) Next(int) time.Duration { return time.Duration(c) }

// Uniform waits a random time from Min up to Max, so that peers do not dial in
// step.
type Uniform struct{ Min, Max time.Duration }

// Next returns a time.
func (u Uniform) Next(attempt int) time.Duration { return u.next(env.Real{}.Source(), attempt) }

func (u Uniform) next(src rand.Source, _ int) time.Duration {
	if u.Max <= u.Min {
		return u.Min
	}
	return u.Min + time.Duration(rand.New(src).Int64N(int64(u.Max-u.Min)+1))
}

// Exponential waits First after the first failure, and Factor times as long after
// each further one, up to Max. Of that it takes off a random part, up to Jitter of
// it. The zero value is ready for use.
type Exponential struct {
	First  time.Duration // default 100 ms
	Max    time.Duration // default 10 s
	Factor float64       // at least 1; default 2
	Jitter float64       // 0 to 1; default 0.25; negative: none
}

// Next returns a time.
func (x Exponential) Next(attempt int) time.Duration { return x.next(env.Real{}.Source(), attempt) }

func (x Exponential) next(src rand.Source, attempt int) time.Duration {
	first, most, factor, jitter := x.First, x.Max, x.Factor, x.Jitter
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if most <= 0 {
		most = max(10*time.Second, first)
	}
	if !(factor >= 1) {
		factor = 2
	}
	if jitter == 0 {
		jitter = 0.25
	}
	d := float64(first) * math.Pow(factor, float64(max(attempt, 1)-1))
	if !(d < float64(most)) {
		d = float64(most)
	}
	if jitter > 0 {
		d -= d * min(jitter, 1) * rand.New(src).Float64()
	}
	return time.Duration(d)
}

// A seeded back-off takes its chance from the source of the environment.
type seeded interface {
	next(src rand.Source, attempt int) time.Duration
}
