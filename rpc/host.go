package rpc

import (
	"context"
	"sync"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/internal/env"
)

// A host is what a Client runs on from a start to the stop after it. All that
// rpc does with time, goroutines and waiting goes through its env, so that it can
// be simulated; but a deadline that a caller's context has is on real time.
type host struct {
	*agent.Behavior
	env   env.Env
	about context.Context // knows env, and nothing else; never ends
	calls sync.Pool       // of *call that are not in flight. Not global: they hold channels and timers of env
}

func newHost(a *agent.Behavior) *host {
	e := env.Of(a.Context())
	return &host{Behavior: a, env: e, about: env.With(context.Background(), e)}
}

// on returns the host for a message that an agent was given: that of now, unless
// the client has not started, or has stopped.
func (c *Client) on(a *agent.Behavior) *host {
	if h := c.host.Load(); h != nil && h.Behavior == a {
		return h
	}
	return newHost(a)
}

// rearm sets a timer that is not running: the old one, if it can be set again as
// a time.Timer can, which saves an allocation for each call in production.
func rearm(e env.Env, t env.Timer, d time.Duration, f func()) env.Timer {
	if r, ok := t.(interface{ Reset(time.Duration) bool }); ok {
		r.Reset(d)
		return t
	}
	return e.AfterFunc(d, f)
}
