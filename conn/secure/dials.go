package secure

import (
	"context"
	"errors"
	"sync"

	"github.com/plexus-net/plexus/conn"
)

// Dials keeps track of the dials of a transport, so that its Close can end them
// and wait. Make one with [NewDials]. Methods may be called from any goroutine.
type Dials struct {
	ctx  context.Context // ends with Stop
	stop context.CancelCauseFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards stopped
	stopped bool
}

// NewDials returns Dials with none.
func NewDials() *Dials {
	ctx, stop := context.WithCancelCause(context.Background())
	return &Dials{ctx: ctx, stop: stop}
}

// Run runs dial, whose context ends with ctx and with Stop. If dial fails after
// that, the cause is the error. After Stop it is [conn.ErrClosed], without a call
// of dial.
func (d *Dials) Run(ctx context.Context, dial func(context.Context) (conn.Conn, error)) (conn.Conn, error) {
	ctx, end, err := d.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	c, err := dial(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = cause // package net does not tell it, nor do others
		}
		return nil, err
	}
	return c, nil
}

// Begin counts a dial, or other work that Close waits for, until end is called.
// The context that it returns ends with ctx, with end, and with Stop, then with
// the cause [conn.ErrClosed]. After Stop that is the error.
func (d *Dials) Begin(ctx context.Context) (inner context.Context, end func(), err error) {
	if err := d.count(); err != nil {
		return nil, nil, err
	}
	inner, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(d.ctx, func() { cancel(context.Cause(d.ctx)) })
	return inner, func() {
		release()
		cancel(nil)
		d.work.Done()
	}, nil
}

// count counts one of work.
func (d *Dials) count() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return conn.ErrClosed
	}
	d.work.Add(1)
	return nil
}

// Stop ends all dials with [conn.ErrClosed] and lets no more begin. It does not
// wait.
func (d *Dials) Stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.stop(conn.ErrClosed)
}

// Wait waits until all dials have ended. Call Stop before.
func (d *Dials) Wait() { d.work.Wait() }
