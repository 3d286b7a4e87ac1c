package env

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
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

// A Memory is an environment that remembers the outcome of checks that many
// nodes make of the same bytes. That of a simulator does.
type Memory interface {
	Recall(sum [sha256.Size]byte, check func() bool) bool
}

// Checked returns what check returns, which depends on parts and nothing else.
// It is for signatures: where one process has a thousand nodes, each need not
// be checked a thousand times.
func Checked(ctx context.Context, check func() bool, parts ...[]byte) bool {
	m, ok := Of(ctx).(Memory)
	if !ok {
		return check()
	}
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	return m.Recall([sha256.Size]byte(h.Sum(nil)), check)
}
