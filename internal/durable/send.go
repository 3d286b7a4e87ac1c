package durable

import (
	"context"
	"runtime"
)

// Send takes in a copy of p, and waits for room until ctx ends. urgent: the
// other end is to tell at once that it has consumed it.
func (c *Channel) Send(ctx context.Context, p []byte, urgent bool) (number uint64, err error) {
	number, _, err = c.send(ctx, p, urgent)
	return number, err
}

// send is Send that also returns the epoch of the other end.
func (c *Channel) send(ctx context.Context, p []byte, urgent bool) (number uint64, peer Epoch, err error) {
	for {
		c.mu.Lock()
		number, err = c.put(p, urgent)
		if err != ErrFull {
			peer = c.peer
			if err == nil && c.ledger != nil {
				c.mu.Unlock()
				return number, peer, c.save()
			}
			write := err == nil && c.claim()
			c.mu.Unlock()
			if write {
				(*c.spawn.Load())(c.writer)
			}
			return number, peer, err
		}
		ready := c.waitReady()
		c.mu.Unlock()
		if c.cfg.Env.Wait(ready, ctx.Done(), nil) == 1 {
			return 0, peer, context.Cause(ctx)
		}
	}
}

// TrySend is Send that does not wait for room: it fails with [ErrFull].
func (c *Channel) TrySend(p []byte, urgent bool) (number uint64, err error) {
	c.mu.Lock()
	number, err = c.put(p, urgent)
	if err == nil && c.ledger != nil {
		c.mu.Unlock()
		return number, c.save()
	}
	write := err == nil && c.claim()
	c.mu.Unlock()
	if write {
		(*c.spawn.Load())(c.writer)
	}
	return number, err
}

// Put is TrySend by a goroutine that writes by itself: where write is true, it
// has to call Write. The frame may be as large as Config.MaxSend.
func (c *Channel) Put(p []byte) (write bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err = c.put(p, false); err != nil {
		return false, err
	}
	return c.claim(), nil
}

// Write writes what waits. Only those call it to whom Put has said so.
func (c *Channel) Write() { c.write(false) }

// Room waits until the other end has consumed something, the channel has ended,
// or ctx has.
func (c *Channel) Room(ctx context.Context) error {
	c.mu.Lock()
	if c.err != nil || c.out.bytes() == 0 {
		defer c.mu.Unlock()
		return c.err
	}
	ready := c.waitReady()
	c.mu.Unlock()
	if c.cfg.Env.Wait(ready, ctx.Done(), nil) == 1 {
		return context.Cause(ctx)
	}
	return nil
}

// put appends a message. The caller holds mu.
func (c *Channel) put(p []byte, urgent bool) (uint64, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case c.finished != 0 || c.closed:
		return 0, errFinished
	case len(p) > max(c.cfg.MaxMessage, c.cfg.MaxSend):
		return 0, ErrTooLarge
	case c.out.bytes()+header+len(p) > c.cfg.Buffer && c.out.bytes() > 0:
		return 0, ErrFull
	}
	t := byte(typeData)
	if urgent {
		t = typeUrgent
	}
	copy(c.out.add(t, len(p)), p)
	c.count.Sent++
	c.count.BytesSent += uint64(len(p))
	return c.out.last, nil
}

// waitReady returns a channel that is closed when the other end has consumed
// something, and when the channel ends. The caller holds mu.
func (c *Channel) waitReady() <-chan struct{} {
	if c.ready == nil {
		c.ready = make(chan struct{})
	}
	return c.ready
}

// wakeSenders closes what waitReady has returned. The caller holds mu.
func (c *Channel) wakeSenders() {
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
}

// Await waits until the other end has consumed the messages up to a number, or
// ctx ends. It fails with [ErrRestarted] if the other end has started anew since
// epoch.
func (c *Channel) Await(ctx context.Context, number uint64, epoch Epoch) error {
	for {
		c.mu.Lock()
		switch {
		case c.peer != epoch && (!epoch.IsZero() || !c.former.IsZero()):
			c.mu.Unlock()
			return ErrRestarted
		case c.err == nil && c.out.acked >= number, c.err != nil && c.final >= number:
			c.mu.Unlock()
			return nil
		case c.err != nil:
			defer c.mu.Unlock()
			return c.err
		}
		ready := c.waitReady()
		c.mu.Unlock()
		if c.cfg.Env.Wait(ready, ctx.Done(), nil) == 1 {
			return context.Cause(ctx)
		}
	}
}

// SendUrgent is Send that also returns the epoch of the other end, for Await.
func (c *Channel) SendUrgent(ctx context.Context, p []byte) (number uint64, peer Epoch, err error) {
	return c.send(ctx, p, true)
}

// Last returns the number of the message that was sent last, and the epoch of the
// other end.
func (c *Channel) Last() (number uint64, peer Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.last, c.peer
}

// Finish sends the end of the channel: nothing more is taken in, and when the
// other end has got what was sent before, and the reason, both ends end.
func (c *Channel) Finish(reason []byte) {
	c.mu.Lock()
	if c.err != nil || c.finished != 0 || c.closed {
		c.mu.Unlock()
		return
	}
	copy(c.out.add(typeClose, len(reason)), reason)
	c.finished = c.out.last
	if c.ledger != nil {
		c.mu.Unlock()
		_ = c.save() // it has ended the channel
		return
	}
	write := c.claim()
	c.mu.Unlock()
	if write {
		(*c.spawn.Load())(c.writer)
	}
}

// claim reports whether the caller has to start a writer. The caller holds mu.
func (c *Channel) claim() bool {
	if c.writing || c.on == nil || !c.pending() {
		return false
	}
	c.writing = true
	return true
}

// pending reports whether there is something that may be written. The caller
// holds mu.
func (c *Channel) pending() bool {
	return len(c.control) > 0 || c.begin || c.pong || c.hurry || c.out.fits(c.room(), c.sendable())
}

// room returns how many bytes the other end's window has room for; a message is
// always allowed if nothing is under way. The caller holds mu.
func (c *Channel) room() int {
	away := int(c.out.sentPos - c.out.ackPos)
	if away == 0 {
		return max(c.window, header+c.cfg.MaxMessage)
	}
	return c.window - away
}

// packed is how much data goes into one write with control frames.
const packed = 4 << 10

// write writes until there is nothing to write. It is run by one goroutine at a
// time, the one for which claim was true.
func (c *Channel) write(yield bool) {
	for {
		if yield {
			runtime.Gosched() // senders that are runnable now join this batch
		}
		c.mu.Lock()
		k := c.on
		if k == nil || !c.pending() {
			c.writing = false
			c.mu.Unlock()
			return
		}
		if c.unmarked() {
			c.mu.Unlock()
			_ = c.save() // it has ended the channel
			continue
		}
		pack, data := c.batch()
		c.mu.Unlock()
		err := k.write(pack)
		if err == nil {
			err = k.write(data)
		}
		c.mu.Lock()
		c.out.release()
		c.mu.Unlock()
		if err != nil {
			c.lost(k, err)
		}
	}
}

// batch returns what to write next. The caller holds mu.
func (c *Channel) batch() (pack, data []byte) {
	if c.begin {
		c.control = appendNumber(c.control, typeStart, c.out.sent+1)
		c.begin = false
	}
	data = c.out.take(c.room(), c.sendable())
	c.digest(false)
	if n := c.tellable(); n > c.told && (c.hurry || len(data) > 0) {
		c.control = appendNumber(c.control, typeAck, n)
		c.told, c.owed = n, 0
	}
	c.hurry = c.hurry && c.told < c.consumed
	if c.pong {
		c.control = appendEmpty(c.control, typePong)
		c.pong = false
	}
	if len(data) > 0 {
		c.quicken()
	}
	if len(c.control) == 0 {
		return nil, data
	}
	c.pack = append(c.pack[:0], c.control...)
	c.control = c.control[:0]
	if len(data) <= packed {
		c.pack = append(c.pack, data...)
		data = nil
	}
	pack = c.pack
	if cap(c.pack) > packed {
		c.pack = nil // not kept: it would be while idle
	}
	return pack, data
}
