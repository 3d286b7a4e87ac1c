package raw

import (
	"context"
	"errors"
	"io"
	"time"
)

// closePatience is how long closing a stream that wraps another may take, which
// may want to write (TLS does).
const closePatience = 100 * time.Millisecond

// What a connection that has written until its end reads of the other side's
// last, so long and so much.
const (
	lingerTime  = 200 * time.Millisecond
	lingerBytes = 4 << 20
)

// finish takes a connection that has ended down: it waits for its callbacks, calls
// OnDisconnect, flushes, closes and removes it. It runs once, on a goroutine of its
// own, since whoever ends a connection may be one of its callbacks.
func (c *Conn) finish(e *EndError) {
	past := time.Unix(1, 0)
	_ = c.stream.SetReadDeadline(past) // wakes the reader; one that cannot be ends with the stream
	if c.nc != c.stream {
		_ = c.nc.SetReadDeadline(past)
	}
	quiet := c.node.within(c.quiet)
	if e.Origin == Panic && isStreamPanic(e) {
		c.out.Drop(e) // before OnDisconnect can send
	}
	sent := c.out.Stats().Frames
	c.callDisconnect(e)
	c.flush(e)
	if quiet && c.out.Stats().Frames > sent {
		c.linger()
	}
	c.closeStream(e.Origin)
	if !quiet && !c.node.within(c.quiet) {
		c.leave("callbacks", c.quiet)
	}
	c.node.remove(c)
	close(c.done)
}

// callDisconnect calls OnDisconnect, for at most HookTimeout.
func (c *Conn) callDisconnect(e *EndError) {
	hook := c.node.protocols.disconnect
	if hook == nil {
		return
	}
	ctx, cancel := c.hookContext()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		if err := guard("OnDisconnect", func() error { hook.OnDisconnect(ctx, c, e); return nil }); err != nil {
			c.panicked(err)
		}
	}()
	if !c.node.within(returned) {
		c.leave("OnDisconnect", returned)
	}
	cancel()
}

// hookContext is the context of OnDisconnect and of the last flush.
func (c *Conn) hookContext() (context.Context, context.CancelFunc) {
	if d := c.node.config.HookTimeout; d > 0 {
		return context.WithTimeoutCause(context.Background(), d, errHookTimeout)
	}
	return context.WithCancel(context.Background())
}

// leave goes on without callbacks that do not return, and counts them until they
// do.
func (c *Conn) leave(what string, returned <-chan struct{}) {
	n := c.node
	n.counts.hookTimeouts.Add(1)
	n.counts.left.Add(1)
	n.config.Log.Warn("left behind: a callback did not return within Config.HookTimeout", "callback", what, "conn", c)
	go func() {
		<-returned
		n.counts.left.Add(-1)
	}()
}

// flush writes what was sent, for at most HookTimeout, and takes nothing more.
func (c *Conn) flush(e *EndError) {
	ctx, cancel := c.hookContext()
	defer cancel()
	if c.out.Close(ctx) != nil {
		c.out.Drop(e)
		_ = c.nc.SetWriteDeadline(time.Unix(1, 0)) // what wraps it may not pass deadlines on
		ctx, cancel := c.hookContext()
		defer cancel()
		if c.out.Flush(ctx); ctx.Err() != nil {
			c.nc.Close()
		}
	}
}

// linger tells the other side that nothing more comes, and reads until it closes
// too: a socket that is closed with bytes unread resets the connection, and the
// last messages with it.
func (c *Conn) linger() {
	s, ok := c.stream.(interface{ CloseWrite() error })
	if !ok || c.stream.SetReadDeadline(time.Now().Add(lingerTime)) != nil || s.CloseWrite() != nil {
		return
	}
	_ = guard("Read", func() error {
		_, err := io.CopyN(io.Discard, c.stream, lingerBytes)
		return err
	})
}

// isStreamPanic reports whether the stream itself panicked: it is not asked for
// anything more.
func isStreamPanic(e *EndError) bool {
	var p *PanicError
	return errors.As(e, &p) && (p.Callback == "Write" || p.Callback == "Read")
}

// closeStream closes the stream and what it wraps.
func (c *Conn) closeStream(o Origin) {
	if c.stream != c.nc {
		if o == WriteTimeout || o == Panic {
			c.nc.Close()
		}
		t := time.AfterFunc(closePatience, func() { c.nc.Close() })
		_ = guard("Close", c.stream.Close) // closed is closed, whatever it says
		t.Stop()
	}
	_ = guard("Close", c.nc.Close)
}

// remove takes a connection out of the node.
func (n *Node) remove(c *Conn) {
	n.mu.Lock()
	delete(n.conns, c.id)
	n.disconnected(c)
	n.past.add(c.Stats())
	n.mu.Unlock()
	c.slot.release()
}
