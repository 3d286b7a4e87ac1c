// Package env is what the runtime takes from its surroundings: time, timers,
// goroutines and randomness. In production it is the real thing ([Real]); a
// simulator injects its own.
package env

import (
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

// Source returns the runtime's own random numbers.
func (Real) Source() rand.Source { return source{} }

type source struct{}

func (source) Uint64() uint64 { return rand.Uint64() }
