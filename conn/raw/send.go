package raw

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/plexus-net/plexus/internal/batch"
)

// writeThrough is from which size on SendWait writes by itself where it can. What
// the writer finds worth it is then not copied.
const writeThrough = 16 << 10

// Send encodes a message into the buffer that is written next. It copies msg,
// does not wait and does not allocate. nil means that the message was taken, not
// that it will arrive: [Conn.SendTracked] tells more. Errors are [ErrQueueFull],
// that of the encoder, and an [*EndError] once the connection has ended and
// OnDisconnect has returned, or the stream has failed.
//
// Another goroutine writes, so that messages that are sent meanwhile join. But the
// first that is sent while OnMessage is at what was read, most often an answer, is
// written by its sender if it is a socket's that has room: that saves an answer
// 2 µs.
func (c *Conn) Send(msg []byte) error { return c.send(msg, nil) }

// SendWait is Send that waits for room instead of failing with [ErrQueueFull],
// until ctx ends: its error is then the cause of ctx, and nothing was sent. Do not
// wait in callbacks for what only they make room for.
//
// With a ctx that cannot end, such as context.Background, and without an encoder,
// messages of 16 KiB and more are not queued: it returns when the stream has taken
// the message, which spares large ones a copy, or at the end of the connection.
func (c *Conn) SendWait(ctx context.Context, msg []byte) error {
	if len(msg) >= writeThrough && c.encoder == nil && ctx.Done() == nil {
		return c.sendError(c.out.WriteThrough(nil, msg))
	}
	for {
		err := c.send(msg, nil)
		if err != ErrQueueFull {
			return err
		}
		if err := c.out.WaitRoom(ctx); err != nil {
			return c.sendError(err)
		}
	}
}

// SendNow is Send for where a microsecond counts more than the number of system
// calls: if nothing is being written the caller does it, at once and without
// letting others join. It may then wait for the stream, for Config.WriteTimeout.
func (c *Conn) SendNow(msg []byte) error {
	return c.encoded(c.out.WriteFunc(func(dst []byte) ([]byte, error) { return c.encode(dst, msg) }, nil))
}

// SendTracked is Send that tells what becomes of the message.
func (c *Conn) SendTracked(msg []byte) (*Delivery, error) {
	d := &Delivery{done: make(chan struct{})}
	done := func(err error) {
		if e := c.ended.Load(); err != nil && e != nil {
			err = e
		}
		d.resolve(err)
	}
	if err := c.send(msg, done); err != nil {
		return nil, err
	}
	return d, nil
}

func (c *Conn) send(msg []byte, done func(error)) error {
	if done == nil && c.answers.Load() && c.answers.CompareAndSwap(true, false) {
		return c.encoded(c.out.AnswerFunc(func(dst []byte) ([]byte, error) { return c.encode(dst, msg) }))
	}
	if c.encoder == nil && done == nil {
		if err := c.out.Append(msg); err != nil {
			return c.sendError(err)
		}
		return nil
	}
	return c.encoded(c.out.AppendFunc(func(dst []byte) ([]byte, error) { return c.encode(dst, msg) }, done))
}

// encoded returns what a caller is told of an error of the writer or the encoder.
func (c *Conn) encoded(err error) error {
	if err == nil {
		return nil
	}
	var p *PanicError
	if errors.As(err, &p) && p.Callback == "Encode" && c.ended.Load() == nil {
		c.panicked(err)
	}
	return c.sendError(err)
}

// encode runs under the lock of the writer.
func (c *Conn) encode(dst, msg []byte) (b []byte, err error) {
	if c.encoder == nil {
		return append(dst, msg...), nil
	}
	defer recovered("Encode", &err)
	return c.encoder.Encode(dst, msg)
}

// sendError returns what a caller is told of an error of the writer.
func (c *Conn) sendError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, batch.ErrFull):
		return ErrQueueFull
	}
	if e := c.ended.Load(); e != nil && (errors.Is(err, batch.ErrClosed) || c.out.Err() != nil) {
		return e
	}
	return err
}

// A Delivery is what becomes of a message, as far as this side can tell: whether
// it was written. Whether the other side has dealt with it, only that can say, in
// a message of your wire format. It resolves exactly once.
type Delivery struct {
	done     chan struct{}
	resolved atomic.Bool
	err      error // set before done is closed
}

func (d *Delivery) resolve(err error) {
	if d.resolved.CompareAndSwap(false, true) {
		d.err = err
		close(d.done)
	}
}

// Done is closed when the system has taken the whole message, or nothing more
// will be written.
func (d *Delivery) Done() <-chan struct{} { return d.done }

// Err means something once Done is closed, and returns nil before. It is nil if the
// system has taken the whole message: it is on its way, which the other side may
// still never read. Else it is why the connection ended; whether the message has
// arrived is then not known.
func (d *Delivery) Err() error {
	select {
	case <-d.done:
		return d.err
	default:
		return nil
	}
}

// Wait waits for Done and returns Err, or the cause of ctx if that ends before.
func (d *Delivery) Wait(ctx context.Context) error {
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
