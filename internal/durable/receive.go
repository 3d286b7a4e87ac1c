package durable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/frames"
)

var errFinished = errors.New("durable: the channel is closed")

// ErrRestarted says that the other end has started anew.
var ErrRestarted = errors.New("durable: the other end has started anew")

// A carrier is a connection that a channel uses.
type carrier struct {
	ch   *Channel
	c    Carrier
	over atomic.Bool // nothing that it brings counts any more

	in   frames.Buffer // owned by the reader
	need int           // what the next frame takes, if known; owned by the reader

	reads   atomic.Uint64 // that brought something
	writes  atomic.Uint64
	partial atomic.Bool // a part of a frame has come

	// Of the caretaker, under the channel's mu.
	seen, wrote uint64 // reads and writes when it last looked
	heard       int64  // when that changed, or the carrier began; unix nanoseconds
	asked       int64  // when it was probed; 0: since heard it was not
}

func newCarrier(ch *Channel, c Carrier, in []byte) *carrier {
	return &carrier{ch: ch, c: c, in: frames.Hold(in), heard: ch.cfg.Env.Now().UnixNano()}
}

// end closes the connection. Its reader and writer end by that.
func (k *carrier) end(cause error) {
	k.over.Store(true)
	k.c.Close(cause)
}

func (k *carrier) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := k.c.Write(p)
	k.writes.Add(1)
	return err
}

// start has the carrier read.
func (k *carrier) start() {
	f, ok := k.c.(env.Feeder)
	if !ok {
		k.ch.cfg.Env.Go(k.read)
		return
	}
	k.ch.cfg.Env.Go(func() {
		if err := k.parse(); err != nil {
			k.ch.lost(k, err)
			return
		}
		f.Feed(k.feed)
	})
}

func (k *carrier) read() {
	err := k.parse()
	for err == nil {
		var n int
		n, err = k.c.Read(k.in.Room(k.need))
		if n > 0 {
			k.reads.Add(1)
			k.in.Filled(n)
			if bad := k.parse(); bad != nil {
				err = bad
			}
		}
	}
	k.ch.lost(k, err)
}

// feed is the reader of a connection that feeds its owner.
func (k *carrier) feed(p []byte, err error) {
	if err != nil {
		k.ch.lost(k, err)
		return
	}
	k.reads.Add(1)
	for len(p) > 0 && err == nil && !k.over.Load() {
		n := copy(k.in.Room(k.need), p)
		p = p[n:]
		k.in.Filled(n)
		err = k.parse()
	}
	if err != nil {
		k.ch.lost(k, err)
	}
}

// parse deals with the whole frames that have come.
func (k *carrier) parse() error {
	if k.in.Empty() {
		return nil
	}
	used, need, err := k.ch.take(k, k.in.Bytes())
	k.in.Used(used)
	k.need = need
	if partial := !k.in.Empty(); partial != k.partial.Load() {
		k.partial.Store(partial)
	}
	return err
}

// A batch is what the frames of one read come to.
type batch struct {
	ack       uint64 // the highest
	consumed  uint64 // messages
	bytes     int    // of them, with their headers
	received  uint64
	payload   uint64 // bytes
	repeated  uint64
	held      int
	heldBytes int  // with their headers
	hurry     bool // tell at once what was consumed
	pong      bool // a ping asks for one
	closed    bool
	reason    []byte
}

// take deals with the whole frames in b and returns how many bytes they are,
// and how many the next one needs.
func (c *Channel) take(k *carrier, b []byte) (used, need int, err error) {
	c.turn.Acquire(c.cfg.Env)
	defer c.turn.Release()
	var got batch
	for err == nil && !got.closed && !k.over.Load() && len(b)-used >= header {
		t, n := parseHeader(b[used:])
		if n > c.largest(t) {
			err = fmt.Errorf("%w: frame of type %d has %d bytes, the limit is %d (MaxMessage)", ErrProtocol, t, n, c.largest(t))
			break
		}
		if len(b)-used < header+n {
			need = header + n
			break
		}
		err = c.frame(&got, t, b[used+header:used+header+n])
		used += header + n
	}
	if settled := c.settle(k, &got); err == nil {
		err = settled
	}
	if got.closed {
		c.closedByPeer(got.reason)
	}
	if k.over.Load() {
		return len(b), 0, nil
	}
	return used, need, err
}

// largest returns how large a frame of a type may be.
func (c *Channel) largest(t byte) int {
	if t == typeData || t == typeUrgent {
		return c.cfg.MaxMessage
	}
	return max(c.cfg.MaxMessage, MaxReason)
}

// frame deals with one frame. Under the turn.
func (c *Channel) frame(got *batch, t byte, body []byte) error {
	switch t {
	case typeData, typeUrgent, typeClose:
		return c.message(got, t, body)
	case typeStart, typeAck, typeAttach:
		if len(body) < 8 {
			return fmt.Errorf("%w: frame of type %d has %d bytes", ErrProtocol, t, len(body))
		}
		n := binary.BigEndian.Uint64(body)
		switch t {
		case typeAck:
			got.ack = max(got.ack, n)
		case typeStart:
			if n == 0 || n < c.next || n > c.taken.Load()+1 {
				return fmt.Errorf("%w: messages start at %d, %d have come%s", ErrProtocol, n, c.taken.Load(), c.forgotten())
			}
			c.next = n
		}
	case typePing:
		got.pong = true
	}
	return nil // of another type: of a later version
}

// message deals with a message: the next, or one that has come before. Under the
// turn.
func (c *Channel) message(got *batch, t byte, body []byte) error {
	if c.next == 0 {
		return fmt.Errorf("%w: a message before start", ErrProtocol)
	}
	number := c.next
	c.next++
	if number <= c.taken.Load() {
		got.repeated++
		got.hurry = got.hurry || t == typeUrgent
		return nil
	}
	if c.closed { // it is stored under the turn
		return fmt.Errorf("%w: a message behind the last", ErrProtocol)
	}
	c.taken.Store(number)
	if t == typeClose {
		got.closed, got.reason = true, append([]byte(nil), body...)
		return nil
	}
	got.received++
	got.payload += uint64(len(body))
	if c.cfg.Deliver(body, t == typeUrgent) {
		got.held++
		got.heldBytes += header + len(body)
		return nil
	}
	got.consumed++
	got.bytes += header + len(body)
	got.hurry = got.hurry || t == typeUrgent
	return nil
}

// settle ends a batch of frames. What was delivered counts even if the carrier
// was lost meanwhile: the other end is told that it has come, and does not send
// it again. Under the turn.
func (c *Channel) settle(k *carrier, got *batch) (err error) {
	c.mu.Lock()
	c.held += got.held
	c.heldBytes += got.heldBytes
	c.count.Received += got.received
	c.count.BytesReceived += got.payload
	c.count.Repeated += got.repeated
	finished, sent := false, c.out.sent
	switch {
	case got.ack > c.out.ever:
		err = fmt.Errorf("%w: it has consumed %d messages of %d", ErrProtocol, got.ack, c.out.ever)
	case c.heldBytes > c.most()+int(c.eatenBytes.Load()):
		err = fmt.Errorf("%w: %d bytes wait to be consumed, the window is %d", ErrProtocol, c.heldBytes, c.cfg.Window)
	case got.ack > 0 && c.out.ack(got.ack):
		c.wakeSenders()
		c.tidySoon()
		c.losses = 0
		c.begin = c.begin || c.out.sent > sent // some need not be sent on this carrier
		finished = c.finished != 0 && c.out.acked >= c.finished
	}
	if got.received > 0 {
		c.losses = 0
	}
	c.tally(got.consumed, got.bytes, got.hurry)
	c.pong = c.pong || got.pong && c.on == k
	write := c.claim()
	c.mu.Unlock()
	if write {
		c.spawn.Load().run(c.writer)
	}
	if finished {
		c.erase()
		c.End(errFinished)
		if c.cfg.Ended != nil {
			c.cfg.Ended(nil)
		}
	}
	return err
}

// tally notes what was consumed, and decides when to tell. The caller holds mu.
func (c *Channel) tally(messages uint64, bytes int, hurry bool) {
	if messages == 0 && !hurry {
		return
	}
	c.consumed += messages
	c.owed += bytes
	switch {
	case hurry || c.owed >= c.cfg.Window/4:
		c.hurry = true
	case c.ackTimer == nil && c.on != nil:
		c.ackTimer = c.cfg.Env.AfterFunc(c.cfg.AckDelay, c.tellNow)
		c.soon.Store(true)
	case c.on == nil:
		c.tidySoon()
	}
}

// tellNow tells what was consumed, if that has not happened meanwhile.
func (c *Channel) tellNow() {
	c.mu.Lock()
	c.ackTimer = nil
	c.soon.Store(false)
	c.digest(true)
	write := c.claim()
	c.mu.Unlock()
	if write {
		c.spawn.Load().run(c.writer)
	}
}

// Consumed notes that messages for which Deliver has said that they are held
// are consumed, in their order. bytes are theirs. hurry: the other end waits for
// the news.
func (c *Channel) Consumed(messages, bytes int, hurry bool) {
	n := c.eatenBytes.Add(int64(bytes + header*messages)) // first: see digest
	c.eaten.Add(int64(messages))
	if !hurry && c.soon.Load() && int(n) < c.cfg.Window/8 {
		return // the timer will see to it
	}
	c.mu.Lock()
	c.digest(hurry)
	write := c.claim()
	c.mu.Unlock()
	if write {
		c.spawn.Load().run(c.writer)
	}
}

// digest takes in what Consumed has noted. The caller holds mu.
func (c *Channel) digest(hurry bool) {
	messages := int(c.eaten.Swap(0)) // first: the other end is told of no message whose bytes are still counted
	bytes := int(c.eatenBytes.Swap(0))
	if old := min(messages, c.stale); old > 0 {
		c.stale -= old // of a former life of the other end
		messages -= old
	}
	old := min(bytes, c.staleBytes)
	c.staleBytes -= old
	c.held -= messages
	c.heldBytes -= bytes - old
	c.tally(uint64(messages), bytes, hurry)
}
