package durable

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// Errors of a channel.
var (
	// ErrFull is the error of sending where the buffer is full.
	ErrFull = errors.New("durable: the buffer is full")
	// ErrTooLarge is the error of sending more than Config.MaxMessage.
	ErrTooLarge = errors.New("durable: the message is too large")
	// ErrReplaced ends a carrier when the channel has moved to another.
	ErrReplaced = errors.New("durable: another connection took its place")
	// ErrStale is the error of attaching a carrier that is older than the one
	// in use.
	ErrStale = errors.New("durable: a newer connection is in use")
	// ErrSilent ends a carrier from which nothing comes any more.
	ErrSilent = errors.New("durable: the connection is silent")
	// ErrProtocol ends a carrier that brings what it must not.
	ErrProtocol = errors.New("durable: protocol violated")
)

// A Carrier is a connection, as a channel needs it. It is the channel's from
// Attach on.
type Carrier interface {
	io.Reader
	io.Writer
	Close(cause error) error
}

// A Config is what a channel is made of. All fields but those that say so are
// required.
type Config struct {
	Env        env.Env
	Buffer     int           // bytes that wait until the other end has consumed them
	Window     int           // bytes that may be under way to this end, or wait here
	MaxMessage int           // bytes of one message
	MaxSend    int           // bytes of one that is sent, if that is more. Optional
	AckDelay   time.Duration // for which the news of a consumed message may wait for company
	Probe      time.Duration // of silence, after which an idle carrier is probed
	Patience   time.Duration // with which an answer is waited for

	// Save keeps, all or nothing, what the channel needs to live on in another
	// process ([Channel.Restore]): a state in place of the former one, and
	// messages behind those that are there, of which the oldest are dropped.
	// There is one call at a time, and what it is given is valid until it
	// returns. An error ends the channel. Optional.
	Save func(state []byte, drop int, add [][]byte) error

	// Deliver is called with every message, one after the other, by the
	// reader. p is valid until it returns. urgent: the other end waits for the
	// news that it is consumed. held: the message counts as under way until
	// Consumed is called for it.
	Deliver func(p []byte, urgent bool) (held bool)
	// Restarted is called when the other end has started anew, before the
	// first Deliver of its new life, with the messages of unknown fate. They
	// are the callee's. Optional.
	Restarted func(unknown [][]byte)
	// Lost is called when a carrier has ended, and none has taken its place.
	// Optional.
	Lost func(err error)
	// Ended is called once: the other end has closed the channel, with a
	// reason, or this one has closed it and the other end knows (nil). Optional.
	Ended func(reason []byte)
}

// A Channel is one end. Methods may be called from any goroutine.
type Channel struct {
	cfg    Config
	epoch  Epoch
	spawn  atomic.Pointer[spawner]
	writer func() // turns, bound once

	// The turn is held by whoever takes in what a carrier has brought, and by
	// Attach. It guards what follows.
	turn env.Lock
	next uint64 // number of the next message of the carrier; 0: it has not said

	taken atomic.Uint64 // messages that have come in; stored under the turn

	eaten, eatenBytes atomic.Int64 // consumed, and not digested
	soon              atomic.Bool  // ackTimer runs

	mu     sync.Mutex // guards what follows; never held in a call out
	err    error      // why it has ended
	final  uint64     // the last number that was acked before
	done   chan struct{}
	peer   Epoch
	former Epoch    // of an earlier life of the other end
	number uint64   // of the carrier in use, or the last one
	given  uint64   // the last number that this end has given
	on     *carrier // nil: there is none
	losses int      // carriers that fell silent since something got through

	out      queue
	base     uint64        // messages before number 1, to former lives of the other end
	line     []*waiter     // senders for whom there is no room
	left     queue         // what out had when the channel ended
	reported bool          // Restarted was called with that
	window   int           // of the other end
	ready    chan struct{} // closed when the other end has consumed something; nil: nobody waits
	control  []byte        // frames that go first
	pack     []byte        // of the writer: control frames and a little data
	writing  bool
	finished uint64 // number of the close frame; 0: none
	closed   bool   // by the other end; written under the turn, too

	consumed, told uint64 // messages, by this end; what the other end knows of that
	owed           int    // bytes consumed and not told
	hurry          bool   // tell at once
	ackTimer       env.Timer
	pong           bool // a ping waits for its answer
	begin          bool // the other end does not know which message follows next

	held, stale           int // messages that are held, and those of former lives
	heldBytes, staleBytes int // of them, with their headers

	ledger *ledger // nil: there is no journal

	tick  env.Timer
	quick bool // it is a short one
	count Counts
}

// Counts are what a channel has counted.
type Counts struct {
	Carriers                 uint64 // attached so far
	Sent, Received           uint64 // messages; those sent again are counted once
	BytesSent, BytesReceived uint64 // of messages
	Resent, ResentBytes      uint64 // messages sent again, with their headers
	Repeated                 uint64 // messages that came again, and were dropped
	Silences                 uint64 // carriers given up for silence
	Restarts                 uint64 // of the other end
	Unknown                  uint64 // messages of unknown fate
	Waiting, WaitingBytes    int    // now: not known to be consumed
	Held                     int    // now: delivered and not consumed
}

// New returns a channel without a carrier.
func New(cfg Config) *Channel {
	c := &Channel{cfg: cfg, turn: env.NewLock(), done: make(chan struct{})}
	for i := 0; i < len(c.epoch); i += 8 {
		putUint64(c.epoch[i:], cfg.Env.Source().Uint64())
	}
	_, yields := cfg.Env.(env.Real)
	c.writer = func() { c.turns(yields) }
	c.SpawnWith(nil)
	return c
}

// Epoch returns the name of this life of the channel.
func (c *Channel) Epoch() Epoch { return c.epoch }

// Peer returns the epoch of the other end; zero: it has met none.
func (c *Channel) Peer() Epoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// Number returns the number of the next carrier, for an end that decides and
// tells the other end by itself.
func (c *Channel) Number() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.give()
}

// give returns the number of the next carrier: higher than any that this end has
// given, in former processes too. The caller holds mu.
func (c *Channel) give() uint64 {
	if c.given == 0 && c.ledger != nil {
		c.given = c.ledger.lives << 32
	}
	c.given++
	return c.given
}

// Meet tells a channel that was never attached who its other end is: it has
// said so on a carrier on which it may think that the channel is.
func (c *Channel) Meet(peer Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count.Carriers == 0 {
		c.peer = peer
	}
}

// A spawner runs the writer.
type spawner struct {
	run    func(func())
	shared bool // by others, who take turns
}

// SpawnWith has the writer run by spawn from now on, a batch at a time; nil: on
// goroutines of its own. A batch that is being written ends where it is.
func (c *Channel) SpawnWith(spawn func(func())) {
	if spawn == nil {
		c.spawn.Store(&spawner{run: c.cfg.Env.Go})
		return
	}
	c.spawn.Store(&spawner{spawn, true})
}

// Offer returns what to tell the other end on a new carrier.
func (c *Channel) Offer() Offer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Offer{Epoch: c.epoch, Peer: c.peer, Taken: c.taken.Load(), Window: uint32(c.cfg.Window), MaxMessage: uint32(c.cfg.MaxMessage)}
}

// Attach moves the channel to a carrier on which the other end has said theirs;
// this end must have told its own offer, made after the last Attach that it
// knows of. in has been read from the carrier already. number says which carrier
// of the channel it is, as the other end has decided; 0: this end decides, and
// tells the other.
//
// The former carrier is closed with [ErrReplaced]. On an error the carrier is
// the caller's.
func (c *Channel) Attach(on Carrier, theirs Offer, number uint64, in []byte) error {
	return c.attach(on, nil, theirs, number, in)
}

// AttachAfter is Attach where lives of the other end are told apart in any case.
// mine is what this end has offered on the carrier, and theirs, or number, is the
// other end's answer to it. If another life of the other end was met since, there
// is no telling which of the two is the later one: it fails with [ErrStale], and
// the one that lives can try again.
//
// What one says that has ended since may arrive late: after what its next life
// has said. But a life that has answered mine had not ended when mine was made.
func (c *Channel) AttachAfter(mine Offer, on Carrier, theirs Offer, number uint64, in []byte) error {
	return c.attach(on, &mine, theirs, number, in)
}

func (c *Channel) attach(on Carrier, mine *Offer, theirs Offer, number uint64, in []byte) error {
	c.turn.Acquire(c.cfg.Env)
	defer c.turn.Release()
	c.mu.Lock()
	err := c.fits(theirs, number)
	if err == nil && mine != nil && theirs.Epoch != c.peer && mine.Peer != c.peer {
		err = ErrStale
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	if (c.finished != 0 || c.closed) && !c.peer.IsZero() && theirs.Epoch != c.peer {
		unknown, err := c.outlived()
		c.mu.Unlock()
		if len(unknown) > 0 && c.cfg.Restarted != nil {
			c.cfg.Restarted(unknown)
		}
		c.erase()
		c.End(err)
		return errFinished
	}
	old := c.on
	unknown, restarted := c.meet(theirs)
	if number == 0 {
		c.number = c.give()
		c.control = appendNumber(c.control[:0], typeAttach, c.number)
	} else {
		c.number, c.control = number, c.control[:0]
	}
	k := newCarrier(c, on, in)
	c.on, c.next, c.pong = k, 0, false
	c.window = int(min(theirs.Window, maxWindow))
	c.begin = true
	if n := c.tellable(); n > 0 {
		c.control = appendNumber(c.control, typeAck, n)
		c.told = n
	}
	c.owed, c.hurry = 0, c.told < c.consumed
	c.count.Carriers++
	c.watch(k, true)
	write := c.claim()
	c.mu.Unlock()
	if old != nil {
		old.end(ErrReplaced)
	}
	if restarted && c.cfg.Restarted != nil {
		c.cfg.Restarted(unknown)
	}
	if write {
		c.spawn.Load().run(c.writer)
	}
	if c.ledger != nil {
		err = c.save()
	}
	k.start()
	return err
}

// fits reports why a carrier cannot be used. The caller holds mu.
func (c *Channel) fits(theirs Offer, number uint64) error {
	switch {
	case c.err != nil:
		return c.err
	case theirs.Epoch == c.former && !c.former.IsZero(),
		number != 0 && number <= c.number && (theirs.Epoch == c.peer || c.given != 0):
		return ErrStale
	case theirs.Epoch != c.peer && c.staleBytes+c.heldBytes > staleWindows*c.most():
		return errStaleFull
	case theirs.Peer == c.epoch && theirs.Epoch == c.peer && theirs.Taken > c.out.ever:
		return fmt.Errorf("%w: the other end has got %d messages, this one has sent %d%s", ErrProtocol, theirs.Taken, c.out.ever, c.forgotten())
	}
	return nil
}

// most is how many bytes a life of the other end may have under way to this one,
// or waiting here: a window, or a message that comes alone.
func (c *Channel) most() int { return max(c.cfg.Window, header+c.cfg.MaxMessage) }

// staleWindows is how many windows of messages of former lives may wait to be
// consumed, until no further life is met.
const staleWindows = 4

var errStaleFull = errors.New("durable: too many messages of former lives of the other end wait to be consumed")

// outdate notes that what is held is of a former life. The caller holds mu.
func (c *Channel) outdate() {
	c.stale += c.held
	c.staleBytes += c.heldBytes
	c.held, c.heldBytes = 0, 0
}

// meet takes in how far the other end has come, and returns the messages of
// unknown fate if it has started anew. The caller holds mu and the turn.
func (c *Channel) meet(theirs Offer) (unknown [][]byte, restarted bool) {
	c.digest(false)
	if theirs.Epoch != c.peer {
		if c.ledger != nil {
			c.ledger.met = true
		}
		if restarted = !c.peer.IsZero(); restarted {
			c.nextLife(c.out.acked, c.out.ever)
			unknown = c.out.reset()
			c.count.Restarts++
			c.count.Unknown += uint64(len(unknown))
			c.wakeSenders()
		}
		c.former, c.peer = c.peer, theirs.Epoch
		c.taken.Store(0)
		c.consumed, c.told, c.owed = 0, 0, 0
		c.outdate()
		c.number = 0
	}
	taken := c.out.acked
	if theirs.Peer == c.epoch {
		taken = max(taken, theirs.Taken)
	}
	n, bytes := c.out.rewind(taken)
	c.count.Resent += n
	c.count.ResentBytes += bytes
	return unknown, restarted
}

// lost ends a carrier that has failed.
func (c *Channel) lost(k *carrier, err error) {
	c.mu.Lock()
	if c.on != k {
		c.mu.Unlock()
		k.end(err)
		return
	}
	c.on = nil
	k.over.Store(true) // before another can be attached
	if err == ErrSilent {
		c.losses++
		c.count.Silences++
	}
	c.stopTimers()
	c.tidySoon() // what was consumed is not told any more, but noted
	over := c.err != nil
	c.mu.Unlock()
	k.end(err)
	if c.cfg.Lost != nil && !over {
		c.cfg.Lost(err)
	}
}

// stopTimers stops those of a carrier. The caller holds mu.
func (c *Channel) stopTimers() {
	if c.tick != nil {
		c.tick.Stop()
		c.tick = nil
	}
	if c.ackTimer != nil {
		c.ackTimer.Stop()
		c.ackTimer = nil
		c.soon.Store(false)
	}
}

// Detach ends the carrier in use, if there is one.
func (c *Channel) Detach(cause error) {
	c.mu.Lock()
	k := c.on
	c.mu.Unlock()
	if k != nil {
		c.lost(k, cause)
	}
}

// Alone calls f when nothing is being delivered, and keeps that so meanwhile.
func (c *Channel) Alone(f func()) {
	c.turn.Acquire(c.cfg.Env)
	defer c.turn.Release()
	f()
}

// Done is closed when the channel has ended; Err says why.
func (c *Channel) Done() <-chan struct{} { return c.done }

// Err returns why the channel has ended, or nil.
func (c *Channel) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Closing reports whether the channel has ended, or is about to.
func (c *Channel) Closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil || c.finished != 0 || c.closed
}

// On returns the carrier in use, or nil.
func (c *Channel) On() Carrier {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on == nil {
		return nil
	}
	return c.on.c
}

// Counts returns what the channel has counted.
func (c *Channel) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.digest(false)
	n := c.count
	n.Waiting, n.WaitingBytes = int(c.out.last-c.out.acked), c.out.bytes()
	n.Held = c.held + c.stale
	return n
}
