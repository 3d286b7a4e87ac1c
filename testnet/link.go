package testnet

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// A Link says how what one node sends to another gets there. The zero Link
// takes 1 ms and loses nothing.
type Link struct {
	// Latency is drawn for every datagram and every piece of a stream, one
	// way. Default: Fixed(time.Millisecond).
	Latency Distribution
	// Loss is the probability that a datagram is lost, and that a piece of a
	// stream has to be sent again: it arrives late, and what follows with it.
	Loss float64
	// Duplicate is the probability that a datagram arrives twice.
	Duplicate float64
	// Reorder is the probability that a datagram takes a second latency on top
	// of the first, in which later ones overtake it. Without it they do so where
	// latencies are unequal.
	Reorder float64
	// Rate is how many bits go out in a second. Default: no limit.
	Rate float64
	// Queue is how many bytes wait for Rate before a sender waits too. Default
	// 256 KiB, at most 1 GiB.
	Queue int
}

const (
	defaultLatency = time.Millisecond
	defaultQueue   = 256 << 10
	maxQueue       = 1 << 30
	minRate        = 1 // the longest queue goes out in 272 years then, which a Duration holds
)

// Check returns an error if a field is out of its range, or a parameter of the
// Latency if it is one of this package's. The error begins with the name of the
// field; which link it is, and of what, the caller adds.
func (l Link) Check() error {
	if l.Latency != nil {
		if err := checkDistribution(l.Latency); err != nil {
			return wrongField("Latency", "%w", err)
		}
	}
	for _, p := range []struct {
		name  string
		value float64
	}{{"Loss", l.Loss}, {"Duplicate", l.Duplicate}, {"Reorder", l.Reorder}} {
		if !(p.value >= 0 && p.value <= 1) { // NaN is refused
			return wrongField(p.name, "is %v, want a probability from 0 to 1", p.value)
		}
	}
	if l.Rate != 0 && !(l.Rate >= minRate && !math.IsInf(l.Rate, 1)) {
		return wrongField("Rate", "is %v, want %d bit/s or more, or 0 for no limit", l.Rate, minRate)
	}
	if l.Queue < 0 || l.Queue > maxQueue {
		return wrongField("Queue", "is %d, want 1 to %d bytes, or 0 for %d", l.Queue, maxQueue, defaultQueue)
	}
	return nil
}

// wrongField begins an error with the name of a field, as it is written.
func wrongField(field, format string, args ...any) error {
	return fmt.Errorf(field+" "+format, args...)
}

// draw draws the latency: that of a zero Link too, and within bounds whoever
// made the distribution.
func (l Link) draw(r *rand.Rand) time.Duration {
	if l.Latency == nil {
		return defaultLatency
	}
	return bounded(l.Latency.Draw(r))
}

// A Distribution draws durations. Draw takes all that is random from r, so that
// the same r gives the same draws; it is called by one goroutine at a time.
//
// What this package's own distributions draw is never below zero nor above a
// year. They print as the call that made them, and are checked with the Link
// they are in.
type Distribution interface {
	Draw(r *rand.Rand) time.Duration
}

// maxDraw leaves room to add draws up, and to add them to a time.
const maxDraw = 365 * 24 * time.Hour

// bounded returns what is nearest to d of what may be drawn.
func bounded(d time.Duration) time.Duration { return min(max(d, 0), maxDraw) }

// nanoseconds is bounded, for numbers that no Duration holds.
func nanoseconds(ns float64) time.Duration {
	if !(ns > 0) { // nor is it NaN
		return 0
	}
	return time.Duration(math.Round(min(ns, float64(maxDraw))))
}

// checkDistribution asks a distribution of this package whether it is one. It
// takes those of others as they are.
func checkDistribution(d Distribution) error {
	if d == nil {
		return errors.New("a distribution is nil")
	}
	if c, ok := d.(interface{ check() error }); ok {
		return c.check()
	}
	return nil
}

// checkDuration checks a parameter of a distribution.
func checkDuration(d Distribution, name string, value time.Duration) error {
	if value < 0 || value > maxDraw {
		return fmt.Errorf("%v: %s is %v, want 0 to %v", d, name, value, maxDraw)
	}
	return nil
}

type fixed time.Duration

// Fixed draws d every time, and takes nothing from the random source.
func Fixed(d time.Duration) Distribution { return fixed(d) }

func (f fixed) Draw(*rand.Rand) time.Duration { return bounded(time.Duration(f)) }
func (f fixed) String() string                { return fmt.Sprintf("Fixed(%v)", time.Duration(f)) }
func (f fixed) check() error                  { return checkDuration(f, "the duration", time.Duration(f)) }

type uniform struct{ least, most time.Duration }

// Uniform draws every duration from least to most, both included, as often as
// any other.
func Uniform(least, most time.Duration) Distribution { return uniform{least, most} }

func (u uniform) Draw(r *rand.Rand) time.Duration {
	least, most := bounded(u.least), bounded(u.most)
	if least >= most {
		return least
	}
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

func (u uniform) String() string { return fmt.Sprintf("Uniform(%v, %v)", u.least, u.most) }

func (u uniform) check() error {
	if err := checkDuration(u, "least", u.least); err != nil {
		return err
	}
	if u.most < u.least {
		return fmt.Errorf("%v: most is %v, want least, %v, or more", u, u.most, u.least)
	}
	return checkDuration(u, "most", u.most)
}

type normal struct{ mean, deviation time.Duration }

// Normal draws from the normal distribution. It is truncated at zero: what is
// less is drawn again. The mean of the draws is therefore above mean where
// deviation is not small beside it: by 0.06 deviations where deviation is half
// of mean, and by 0.8 deviations where mean is zero.
func Normal(mean, deviation time.Duration) Distribution { return normal{mean, deviation} }

func (n normal) Draw(r *rand.Rand) time.Duration {
	mean, deviation := float64(bounded(n.mean)), float64(bounded(n.deviation))
	for {
		// Half of the draws or more are at the mean or above it. The conversion
		// keeps compilers from fusing the two operations on some machines.
		if d := mean + float64(deviation*r.NormFloat64()); d >= 0 {
			return nanoseconds(d)
		}
	}
}

func (n normal) String() string { return fmt.Sprintf("Normal(%v, %v)", n.mean, n.deviation) }

func (n normal) check() error {
	if err := checkDuration(n, "mean", n.mean); err != nil {
		return err
	}
	return checkDuration(n, "deviation", n.deviation)
}

type logNormal struct {
	median time.Duration
	sigma  float64
}

// LogNormal draws durations whose logarithms are normally distributed, with the
// deviation sigma: half of them are below median, and a few are very long, as
// is usual for latencies. With sigma 0.1 nineteen of twenty are within about
// 20% of median; with sigma 1 one of twenty is above five times median.
func LogNormal(median time.Duration, sigma float64) Distribution { return logNormal{median, sigma} }

func (l logNormal) Draw(r *rand.Rand) time.Duration {
	return nanoseconds(float64(bounded(l.median)) * math.Exp(l.sigma*r.NormFloat64()))
}

func (l logNormal) String() string { return fmt.Sprintf("LogNormal(%v, %v)", l.median, l.sigma) }

func (l logNormal) check() error {
	if !(l.sigma >= 0 && l.sigma <= maxSigma) {
		return fmt.Errorf("%v: sigma is %v, want 0 to %d", l, l.sigma, maxSigma)
	}
	return checkDuration(l, "median", l.median)
}

// maxSigma makes one draw of a thousand more than ten thousand times the
// median. More is a mistake in the unit.
const maxSigma = 3

type sum struct{ base, jitter Distribution }

// Sum draws from both and adds the draws: a base that is the distance, say, and
// the jitter on top of it.
func Sum(base, jitter Distribution) Distribution { return sum{base, jitter} }

func (s sum) Draw(r *rand.Rand) time.Duration {
	base := bounded(s.base.Draw(r)) // first, whatever is drawn: the order is part of the result
	return bounded(base + bounded(s.jitter.Draw(r)))
}

func (s sum) String() string { return fmt.Sprintf("Sum(%v, %v)", s.base, s.jitter) }

func (s sum) check() error {
	for _, d := range []Distribution{s.base, s.jitter} {
		if err := checkDistribution(d); err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
	}
	return nil
}
