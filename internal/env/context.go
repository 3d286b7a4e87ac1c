package env

import (
	"context"
	"time"
)

type key struct{}

// With returns a context that knows its environment, for those who are handed
// nothing else. Where that is the real one it is left out.
func With(ctx context.Context, e Env) context.Context {
	if _, real := e.(Real); real {
		return ctx
	}
	return context.WithValue(ctx, key{}, e)
}

// Of returns the environment that a context knows: the real one where it has
// been told nothing.
func Of(ctx context.Context) Env {
	if e, ok := ctx.Value(key{}).(Env); ok {
		return e
	}
	return Real{}
}

// WithTimeout is context.WithTimeout on the clock of an environment.
func WithTimeout(e Env, parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, real := e.(Real); real {
		return context.WithTimeout(parent, d)
	}
	ctx, cancel := context.WithCancelCause(parent)
	t := e.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() { t.Stop(); cancel(context.Canceled) }
}

// Err returns what a context ended with. That of WithTimeout ends with
// context.DeadlineExceeded, as its cause says, where Err alone says
// context.Canceled.
func Err(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	if context.Cause(ctx) == context.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// A Lock is a mutex whose holder may wait. Make it with NewLock.
type Lock chan struct{}

// NewLock makes a Lock that nobody holds.
func NewLock() Lock {
	l := make(Lock, 1)
	l <- struct{}{}
	return l
}

// Acquire waits for the lock.
func (l Lock) Acquire(e Env) { e.Wait(l, nil, nil) }

// Release lets the next one have the lock.
func (l Lock) Release() { l <- struct{}{} }
