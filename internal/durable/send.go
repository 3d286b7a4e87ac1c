package durable

import (
	"context"
	"runtime"
	"slices"
)

// Send takes in a copy of p, and waits for room until ctx ends. urgent: the
// other end is to tell at once that it has consumed it.
func (c *Channel) Send(ctx context.Context, p []byte, urgent bool) error {
	_, err := c.send(ctx, p, urgent)
	return err
}

// send is Send that returns which message it is, through all lives of the other
// end.
func (c *Channel) send(ctx context.Context, p []byte, urgent bool) (n uint64, err error) {
	c.mu.Lock()
	err = c.put(p, urgent)
	if err == ErrFull {
		w := &waiter{size: header + len(p), turn: make(chan struct{}, 1)}
		c.line = append(c.line, w)
		for err == ErrFull {
			c.mu.Unlock()
			if c.cfg.Env.Wait(w.turn, ctx.Done(), nil) == 1 {
				err = context.Cause(ctx)
			}
			c.mu.Lock()
			if err == ErrFull {
				err = c.append(p, urgent)
			}
		}
		c.leave(w)
	}
	n = c.base + c.out.last
	return n, c.sent(err)
}

// sent sees to it that a message that was put is written. The caller holds mu, and
// does not any more when it returns.
func (c *Channel) sent(err error) error {
	keep, last := err == nil && c.ledger != nil, c.base+c.out.last
	write := err == nil && !keep && c.claim()
	c.mu.Unlock()
	switch {
	case keep:
		return c.saveUntil(last)
	case write:
		c.spawn.Load().run(c.writer)
	}
	return err
}

// A waiter is a sender that waits for room. They take their turns in the order in
// which they came: else a large message would wait for as long as there are small
// ones.
type waiter struct {
	size int
	turn chan struct{} // one token: look whether there is room
}

// callNext tells the first in line if there is room for it. The caller holds mu.
func (c *Channel) callNext() {
	if len(c.line) == 0 || c.refuse(c.line[0].size) == ErrFull {
		return
	}
	select {
	case c.line[0].turn <- struct{}{}:
	default:
	}
}

// leave takes a sender out of the line. The caller holds mu.
func (c *Channel) leave(w *waiter) {
	i := slices.Index(c.line, w)
	c.line = slices.Delete(c.line, i, i+1)
	c.callNext()
}

// TrySend is Send that does not wait for room: it fails with [ErrFull].
func (c *Channel) TrySend(p []byte, urgent bool) error {
	c.mu.Lock()
	return c.sent(c.put(p, urgent))
}

// Put is TrySend by a goroutine that writes by itself: where write is true, it
// has to call Write. The frame may be as large as Config.MaxSend.
func (c *Channel) Put(p []byte) (write bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err = c.put(p, false); err != nil {
		return false, err
	}
	return c.claim(), nil
}

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

// put appends a message, if nobody waits for room. The caller holds mu.
func (c *Channel) put(p []byte, urgent bool) error {
	if err := c.refuse(header + len(p)); err != nil {
		return err
	}
	if len(c.line) > 0 {
		return ErrFull
	}
	return c.append(p, urgent)
}

// refuse returns why a frame of a size cannot be appended. The caller holds mu.
func (c *Channel) refuse(size int) error {
	switch {
	case c.err != nil:
		return c.err
	case c.finished != 0 || c.closed:
		return errFinished
	case size > header+max(c.cfg.MaxMessage, c.cfg.MaxSend):
		return ErrTooLarge
	case c.out.bytes()+size > c.cfg.Buffer && c.out.bytes() > 0:
		return ErrFull
	}
	return nil
}

// append appends a message. The caller holds mu.
func (c *Channel) append(p []byte, urgent bool) error {
	if err := c.refuse(header + len(p)); err != nil {
		return err
	}
	t := byte(typeData)
	if urgent {
		t = typeUrgent
	}
	copy(c.out.add(t, len(p)), p)
	c.count.Sent++
	c.count.BytesSent += uint64(len(p))
	return nil
}

// waitReady returns a channel that is closed when the other end has consumed
// something, and when the channel ends. The caller holds mu.
func (c *Channel) waitReady() <-chan struct{} {
	if c.ready == nil {
		c.ready = make(chan struct{})
	}
	return c.ready
}

// wakeSenders closes what waitReady has returned, and calls who waits for room. The
// caller holds mu.
func (c *Channel) wakeSenders() {
	c.callNext()
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
}

// Await waits until the other end has consumed the messages up to a number, or
// ctx ends. It fails with [ErrRestarted] if the other end has started anew since
// epoch.
func (c *Channel) Await(ctx context.Context, number uint64, epoch Epoch) error {
	return c.await(ctx, func() (bool, error) {
		if c.peer != epoch && (!epoch.IsZero() || !c.former.IsZero()) {
			return true, ErrRestarted
		}
		return c.consumedBy(number), nil
	})
}

// Deliver is Send that waits until the other end has consumed p, or ctx ends. It
// fails with [ErrRestarted] if the other end has started anew when p was under
// way.
func (c *Channel) Deliver(ctx context.Context, p []byte) error {
	n, err := c.send(ctx, p, true)
	if err != nil {
		return err
	}
	return c.await(ctx, func() (bool, error) {
		if n <= c.base {
			return true, ErrRestarted
		}
		return c.consumedBy(n - c.base), nil
	})
}

// consumedBy reports whether the other end has consumed the messages up to a
// number. The caller holds mu.
func (c *Channel) consumedBy(number uint64) bool {
	if c.err != nil {
		return c.final >= number
	}
	return c.out.acked >= number
}

// await waits until done, which is called under mu, says so, or the channel or ctx
// ends.
func (c *Channel) await(ctx context.Context, done func() (bool, error)) error {
	for {
		c.mu.Lock()
		if ok, err := done(); ok {
			c.mu.Unlock()
			return err
		}
		if c.err != nil {
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

// Last returns the number of the message that was sent last, and the epoch of the
// other end.
func (c *Channel) Last() (number uint64, peer Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.last, c.peer
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

// turns is the writer as it is spawned: it writes until there is nothing to write,
// or hands the writing on where it takes turns with others, or is to run elsewhere.
// It is run by one goroutine at a time, the one for which claim was true.
func (c *Channel) turns(yield bool) {
	by := c.spawn.Load()
	for c.writeBatch(yield) {
		if next := c.spawn.Load(); next.shared || next != by {
			next.run(c.writer)
			return
		}
	}
}

// Write writes what waits. Only those call it to whom Put has said so.
func (c *Channel) Write() {
	for c.writeBatch(false) {
	}
}

// writeBatch writes what there is, and reports false, ending the writing, if there
// is nothing.
func (c *Channel) writeBatch(yield bool) bool {
	if yield {
		runtime.Gosched() // senders that are runnable now join this batch
	}
	c.mu.Lock()
	k := c.on
	if k == nil || !c.pending() {
		c.writing = false
		c.mu.Unlock()
		return false
	}
	if c.unmarked() {
		c.mu.Unlock()
		_ = c.save() // it has ended the channel
		return true
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
	return true
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
