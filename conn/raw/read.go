package raw

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/plexus-net/plexus/internal/batch"
)

// live calls OnConnect and then reads until the connection ends.
func (c *Conn) live() {
	defer close(c.quiet)
	if !c.connected() {
		return
	}
	if d := c.node.config.IdleTimeout; d > 0 {
		c.wait()
		c.idle = time.AfterFunc(1<<62, c.checkIdle)
		c.idle.Reset(d) // not before checkIdle can see it
		defer c.idle.Stop()
	}
	e := c.read()
	if c.inbox != nil {
		c.drain(e)
	}
	c.end(e)
}

// connected calls OnConnect, and reports whether to go on.
func (c *Conn) connected() bool {
	hook := c.node.protocols.connect
	if hook == nil {
		return true
	}
	ctx, cancel := c.ctx, context.CancelFunc(func() {})
	if d := c.node.config.HookTimeout; d > 0 {
		ctx, cancel = context.WithTimeoutCause(c.ctx, d, errHookTimeout)
		defer context.AfterFunc(ctx, func() {
			if context.Cause(ctx) == error(errHookTimeout) {
				c.end(&EndError{Origin: ConnectHook, Err: errHookTimeout})
			}
		})()
	}
	defer cancel()
	var p *PanicError
	switch err := guard("OnConnect", func() error { return hook.OnConnect(ctx, c) }); {
	case errors.As(err, &p):
		c.panicked(err)
	case err != nil:
		c.end(&EndError{Origin: ConnectHook, Err: err})
	}
	return c.ended.Load() == nil
}

// read takes messages out of the stream until it ends.
func (c *Conn) read() (e *EndError) {
	r := batch.NewReader(c.stream)
	defer r.Release()
	for {
		held := len(r.Bytes())
		if held >= c.node.config.MaxFrame {
			return &EndError{Origin: Decode, Err: ErrFrameTooLarge}
		}
		c.wait()
		err := fill(r, min(2*held, c.node.config.MaxFrame))
		c.waiting.Store(0)
		if err != nil {
			if held > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return c.streamEnd(Peer, err)
		}
		c.bytesIn.Add(uint64(len(r.Bytes()) - held))
		c.answers.Store(c.socket != nil)
		e = c.take(r)
		c.answers.Store(false)
		if e != nil {
			return e
		}
	}
}

// take takes the messages out of what has been read.
func (c *Conn) take(r *batch.Reader) (e *EndError) {
	callback := "Decode"
	defer func() { // once for all messages: it would be a good part of their cost
		var err error
		if recoverAs(recover(), callback, &err); err != nil {
			e = c.streamEnd(Panic, err)
		}
	}()
	process := c.inbox == nil && c.node.protocols.receiver != nil
	for {
		data := r.Bytes()
		if len(data) == 0 {
			return nil
		}
		n, msg := len(data), data
		if c.decoder != nil {
			var err error
			if n, msg, err = c.decoder.Decode(data); err == nil {
				err = c.checkFrame(n, len(data), msg)
			}
			if err != nil {
				return &EndError{Origin: Decode, Err: err}
			}
		}
		switch {
		case n == 0:
			return nil
		case msg == nil: // skipped
		case process:
			c.received.Add(1)
			callback = "OnMessage"
			c.node.protocols.receiver.OnMessage(c.ctx, c, msg)
			callback = "Decode"
		case c.inbox != nil:
			c.inbox.put(msg)
		default:
			c.received.Add(1)
		}
		r.Discard(n)
		if e := c.ended.Load(); e != nil {
			return e
		}
	}
}

// checkFrame checks what a decoder returned of size bytes.
func (c *Conn) checkFrame(n, size int, msg []byte) error {
	switch {
	case n < 0 || n > size:
		return errors.New("decoder took more than there is")
	case n > c.node.config.MaxFrame:
		return ErrFrameTooLarge
	case n == 0 && msg != nil:
		return errors.New("decoder returned a message and took nothing for it")
	}
	return nil
}

// fill reads, from a stream that may be the user's.
func fill(r *batch.Reader, need int) (err error) {
	defer recovered("Read", &err)
	return r.Fill(need)
}

// streamEnd returns the end that an error of the stream or the decoder means.
func (c *Conn) streamEnd(o Origin, err error) *EndError {
	var p *PanicError
	if errors.As(err, &p) {
		o = Panic
		c.node.counts.panics.Add(1)
		c.node.logPanic(err)
	}
	return &EndError{Origin: o, Err: err}
}

// process calls OnMessage, for the inbox.
func (c *Conn) process(msg []byte) {
	c.received.Add(1)
	if err := c.onMessage(msg); err != nil {
		c.panicked(err)
	}
}

func (c *Conn) onMessage(msg []byte) (err error) {
	defer recovered("OnMessage", &err)
	c.node.protocols.receiver.OnMessage(c.ctx, c, msg)
	return nil
}

// wait notes that the reader waits from now on.
func (c *Conn) wait() {
	if c.node.config.IdleTimeout > 0 {
		c.waiting.Store(max(1, int64(time.Since(c.node.started))))
	}
}

// checkIdle ends the connection if nothing has come for IdleTimeout, or looks
// again when that may be. The timer moves only then, not with each message.
func (c *Conn) checkIdle() {
	if c.ended.Load() != nil {
		return
	}
	left := c.node.config.IdleTimeout
	if since := c.waiting.Load(); since != 0 {
		left -= time.Since(c.node.started) - time.Duration(since)
	}
	if left > 0 {
		c.idle.Reset(left)
		if c.ended.Load() != nil {
			c.idle.Stop() // the reader may have stopped it before
		}
		return
	}
	c.end(&EndError{Origin: Idle, Err: errIdleTimeout})
}

// writeEnd returns the end that an error of writing means.
func (c *Conn) writeEnd(err error) *EndError {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &EndError{Origin: WriteTimeout, Err: errWriteTimeout}
	}
	return c.streamEnd(Peer, err)
}

// drain ends the inbox. What a peer sent before it closed still counts, as far as
// HookTimeout allows; of an end with another cause nothing more is processed.
func (c *Conn) drain(e *EndError) {
	c.inbox.close()
	if e.Origin == Peer {
		c.node.within(c.inbox.ended)
	}
	c.end(e) // OnMessage learns of it by its context
	<-c.inbox.ended
}
