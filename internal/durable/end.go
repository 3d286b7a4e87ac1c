package durable

import "time"

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
	c.callNext()
	_ = c.sent(nil) // an error has ended the channel
}

// outlived ends a channel that is about to end when the other end starts anew:
// there is nobody left to tell. It returns what the other end has not consumed:
// nothing more becomes of it. why is what to end with. The caller holds mu.
func (c *Channel) outlived() (unknown [][]byte, why error) {
	if c.finished == 0 || c.out.acked+1 >= c.finished {
		return nil, errFinished
	}
	unknown, c.reported = c.out.rest(), true
	c.count.Restarts++
	c.count.Unknown += uint64(len(unknown))
	return unknown, ErrRestarted
}

// lingering is how long an end whose other end has closed waits for it to close
// the connection.
const lingering = time.Second

// closedByPeer ends the channel: the other end has closed it. It is told that
// all has been consumed: nothing more can happen to what is still held.
func (c *Channel) closedByPeer(reason []byte) {
	c.erase()
	c.mu.Lock()
	c.closed = true
	c.callNext()
	c.digest(false)
	c.consumed, c.hurry = c.taken.Load(), true
	c.outdate()
	write := c.claim()
	c.mu.Unlock()
	if write {
		c.spawn.Load().run(c.writer)
	}
	if c.cfg.Ended != nil {
		c.cfg.Ended(reason)
	}
	c.cfg.Env.AfterFunc(lingering, func() { c.End(errFinished) })
}

// End ends the channel at once, on this side. Calls after the first do nothing.
func (c *Channel) End(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err, c.final = err, c.out.acked
	k := c.on
	c.on = nil
	c.stopTimers()
	if l := c.ledger; l != nil && l.tidy != nil {
		l.tidy.Stop()
	}
	c.left = c.out
	c.out.drop()
	c.wakeSenders()
	close(c.done)
	c.mu.Unlock()
	if k != nil {
		k.end(err)
	}
}

// Rest returns, of a channel that has ended, copies of the messages that the other
// end is not known to have consumed, in the order sent; but for those that
// Restarted was called with.
func (c *Channel) Rest() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil || c.reported {
		return nil
	}
	return c.left.rest()
}

// Drop is End and Rest: nil, if the channel had ended before.
func (c *Channel) Drop(err error) (rest [][]byte) {
	if c.Err() != nil {
		return nil
	}
	c.End(err)
	return c.Rest()
}

// Finished reports whether the channel has ended after Finish, and the other end
// has got all messages.
func (c *Channel) Finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil && c.finished != 0 && c.final+1 >= c.finished
}
