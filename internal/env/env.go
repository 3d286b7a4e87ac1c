// Package env is what the runtime takes from its surroundings: time, timers,
// goroutines, waiting and randomness. In production it is the real thing
// ([Real]); the simulator injects its own, in which one loop runs everything.
//
// Code that is to run in both starts its goroutines with Go, and blocks only in
// Wait and in what is made of it.
package env

import (
	"context"
	"math/rand/v2"
	"time"
)

// An Env is the surroundings of a node. Methods may be called from any
// goroutine.
type Env interface {
	Now() time.Time
	// AfterFunc calls f, on a goroutine of its own, after d.
	AfterFunc(d time.Duration, f func()) Timer
	// Go runs f beside the caller.
	Go(f func())
	// Wait blocks until one of the channels is closed or has a value, which it
	// takes, and returns which: 0, 1 or 2. A nil channel is never ready.
	Wait(a, b, c <-chan struct{}) int
	// OnDone calls f, on a goroutine of its own, once ctx has ended. stop
	// reports whether it prevented that.
	OnDone(ctx context.Context, f func()) (stop func() bool)
	// Source returns the node's source of randomness.
	Source() rand.Source
}

// A Timer is a pending call of AfterFunc. Stop reports whether it prevented it.
type Timer interface{ Stop() bool }

// Real is the environment of a node in production.
type Real struct{}

// Now tells the system's time.
func (Real) Now() time.Time { return time.Now() }

// AfterFunc is time.AfterFunc.
func (Real) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// Go starts a goroutine.
func (Real) Go(f func()) { go f() }

// Wait is a select statement.
func (Real) Wait(a, b, c <-chan struct{}) int {
	select {
	case <-a:
		return 0
	case <-b:
		return 1
	case <-c:
		return 2
	}
}

// OnDone is context.AfterFunc.
func (Real) OnDone(ctx context.Context, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, f)
}

// Source returns the runtime's own random numbers.
func (Real) Source() rand.Source { return source{} }

type source struct{}

func (source) Uint64() uint64 { return rand.Uint64() }

// A Feeder is a connection that calls its owner with what arrives, in place of
// being read. Those of a simulator are.
type Feeder interface {
	// Feed has f called with what arrives from now on, one call at a time, and
	// at last with an error. f must not keep p.
	Feed(f func(p []byte, err error))
}

// A Provider is a transport that brings its nodes an environment: that of a
// simulator does.
type Provider interface{ Env() Env }
