package durable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// A ledger is what a channel knows of its journal, which lets it live on in
// another process. Messages are counted from the beginning of the ledger, through
// all lives of the other end:
//
//	      head                base          end
//	[gone|  of former lives   |  of this    |  not kept yet]
//	       └ unknown: reports └ number 1    └ last
//
// Nothing is told to the other end before it is kept: a message is written to a
// carrier when it is in the journal, and an ack when the journal says that the
// message was consumed. So the next process never knows less than the other end.
type ledger struct {
	saving env.Lock // held around Save, and taken before mu

	// Guarded by the channel's mu.
	lives   uint64   // processes in which the channel has lived
	head    uint64   // messages that the journal has dropped
	end     uint64   // messages that the journal has taken
	marked  uint64   // consumed by this end, as the journal knows
	reports []uint64 // messages before the unknown ones of each report that is not dealt with
	met     bool     // the other end is another than the journal knows
	saved   []byte   // the state in the journal
	over    bool     // the channel's life has ended: the journal is empty
	tidy    env.Timer
}

// tidying is how long messages that are not needed any more may stay in the
// journal if nothing else is saved.
const tidying = 200 * time.Millisecond

// Kept is what a journal has.
type Kept struct {
	State    []byte
	Messages [][]byte
}

// Restore has a new channel live on from what its journal has: nothing, if it is
// its first life. It returns how many of the messages are of unknown fate: the
// other end started anew, and Reported was not called. Config.Save is set.
func (c *Channel) Restore(kept Kept) (unknown [][]byte, err error) {
	l := &ledger{saving: env.NewLock(), lives: 1}
	c.ledger, c.out.keeps = l, true
	if len(kept.State) > 0 {
		if unknown, err = c.restore(kept); err != nil {
			return nil, err
		}
	} else if len(kept.Messages) > 0 {
		return nil, fmt.Errorf("%w: there are %d messages and no state", ErrJournal, len(kept.Messages))
	}
	return unknown, c.save()
}

func (c *Channel) restore(kept Kept) (unknown [][]byte, err error) {
	l := c.ledger
	ahead, err := c.decode(kept.State)
	if err != nil {
		return nil, err
	}
	list := kept.Messages
	l.end = uint64(len(list))
	if ahead < 0 {
		if -ahead > int64(len(list)) {
			return nil, fmt.Errorf("%w: it knows of %d messages, there are %d", ErrJournal, -ahead, len(list))
		}
		c.base = uint64(-ahead)
		l.reports = []uint64{0}
		unknown, list = list[:c.base], list[c.base:]
	} else { // as if they had been dropped in this process
		l.head, l.end = uint64(ahead), uint64(ahead)+l.end
		c.out.acked, c.out.sent, c.out.last, c.out.ever = l.head, l.head, l.head, l.head
	}
	for _, p := range list {
		if len(p) > maxKept {
			return nil, fmt.Errorf("%w: a message has %d bytes", ErrJournal, len(p))
		}
		copy(c.out.add(typeData, len(p)), p)
	}
	c.out.collect()
	if !c.peer.IsZero() {
		c.out.ever = c.out.last // they may have been sent
	}
	c.taken.Store(c.consumed)
	c.told, l.marked = c.consumed, c.consumed
	return unknown, nil
}

// maxKept is what fits into a frame.
const maxKept = 1<<24 - 1

// The state in a journal:
//
//	version (1), lives (8), epoch (16), other end's epoch (16), its former (16),
//	consumed (8), ahead (8)
//
// ahead is how many messages of this life of the other end are dropped, or, if it
// is negative, how many are kept that are of former lives.
const (
	stateVersion = 1
	stateSize    = 1 + 8 + 3*16 + 8 + 8
)

// ErrJournal is beneath the errors of Restore about what the journal has.
var ErrJournal = errors.New("the journal is damaged, or not that of an endpoint")

func (c *Channel) encode(b []byte, head uint64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, stateVersion), c.ledger.lives)
	b = append(append(append(b, c.epoch[:]...), c.peer[:]...), c.former[:]...)
	b = binary.BigEndian.AppendUint64(b, c.consumed)
	return binary.BigEndian.AppendUint64(b, head-c.base)
}

func (c *Channel) decode(b []byte) (ahead int64, err error) {
	if b[0] != stateVersion {
		return 0, fmt.Errorf("%w: its state has version %d, this is %d", ErrJournal, b[0], stateVersion)
	}
	if len(b) < stateSize {
		return 0, fmt.Errorf("%w: its state has %d bytes, want %d", ErrJournal, len(b), stateSize)
	}
	lives := binary.BigEndian.Uint64(b[1:])
	if lives == 0 || lives >= math.MaxUint32 {
		return 0, fmt.Errorf("%w: %d lives", ErrJournal, lives)
	}
	c.ledger.lives = lives + 1
	at := 9
	for _, e := range []*Epoch{&c.epoch, &c.peer, &c.former} {
		at += copy(e[:], b[at:])
	}
	if c.epoch.IsZero() {
		return 0, fmt.Errorf("%w: no epoch", ErrJournal)
	}
	c.consumed = binary.BigEndian.Uint64(b[at:])
	ahead = int64(binary.BigEndian.Uint64(b[at+8:]))
	if ahead > math.MaxInt64/2 || ahead < -math.MaxInt64/2 || c.peer.IsZero() && (ahead != 0 || c.consumed != 0) {
		return 0, fmt.Errorf("%w: counts that cannot be", ErrJournal)
	}
	return ahead, nil
}

// sendable returns the number of the last message that may be written. The caller
// holds mu.
func (c *Channel) sendable() uint64 {
	l := c.ledger
	switch {
	case l == nil:
		return math.MaxUint64
	case l.met:
		return 0
	}
	n := l.end - c.base
	if n+1 == c.finished {
		return c.finished // it is not kept: what is over is not to live on
	}
	return n
}

// tellable returns how many messages the other end may be told to be consumed.
// The caller holds mu.
func (c *Channel) tellable() uint64 {
	if l := c.ledger; l != nil && !l.over {
		return min(c.consumed, l.marked)
	}
	return c.consumed
}

// floor returns how many messages are not needed any more. The caller holds mu.
func (c *Channel) floor() uint64 {
	if l := c.ledger; len(l.reports) > 0 {
		return l.reports[0]
	}
	return c.base + c.out.acked
}

// nextLife begins a new life of the other end. Its former one may have got the
// messages up to ever, and has consumed those up to acked: those between are
// reported. The caller holds mu.
func (c *Channel) nextLife(acked, ever uint64) {
	if l := c.ledger; l != nil {
		if l.marked = 0; ever > acked {
			l.reports = append(l.reports, c.base+acked)
		}
	}
	c.base += ever
}

// Keep saves what is not saved yet, such as what was consumed.
func (c *Channel) Keep() {
	if c.ledger != nil {
		_ = c.save() // it has ended the channel
	}
}

// forgotten is said where the other end knows more than this one.
func (c *Channel) forgotten() string {
	if c.ledger == nil {
		return ""
	}
	return "; the journal seems to have forgotten what it had kept: empty it to begin anew"
}

// Reported notes that messages of unknown fate, of the eldest report, are dealt
// with.
func (c *Channel) Reported() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.ledger; l != nil && len(l.reports) > 0 {
		l.reports = l.reports[1:]
		c.tidySoon()
	}
}

// tidySoon has messages dropped that are not needed any more. The caller holds mu.
func (c *Channel) tidySoon() {
	if l := c.ledger; l != nil && l.tidy == nil && c.err == nil {
		l.tidy = c.cfg.Env.AfterFunc(tidying, func() {
			c.mu.Lock()
			l.tidy = nil
			c.mu.Unlock()
			_ = c.save() // it has ended the channel
		})
	}
}

// save saves what has changed since the last save.
func (c *Channel) save() error { return c.saveUntil(math.MaxUint64) }

// saveUntil is save where that is needed only if so many messages are not kept yet.
// So senders that wait for a save that is under way are served by the next one
// together.
func (c *Channel) saveUntil(kept uint64) error {
	l := c.ledger
	l.saving.Acquire(c.cfg.Env)
	c.mu.Lock()
	if c.err != nil || l.over || l.end >= kept {
		defer l.saving.Release()
		defer c.mu.Unlock()
		return c.err
	}
	c.digest(false)
	head, peer, consumed := c.floor(), c.peer, c.consumed
	add := c.out.collect()
	end := l.end + uint64(len(add))
	state := c.encode(make([]byte, 0, stateSize), head)
	if len(add) == 0 && string(state) == string(l.saved) {
		state = nil
	}
	drop := int(head - l.head)
	c.mu.Unlock()
	var err error
	if state != nil {
		err = c.cfg.Save(state, drop, add)
	}
	c.mu.Lock()
	if err == nil {
		l.head, l.end = head, end
		if state != nil {
			l.saved = state
		}
		if c.peer == peer {
			l.marked, l.met = consumed, false
		}
	}
	write := err == nil && c.claim()
	c.mu.Unlock()
	l.saving.Release()
	if err != nil {
		c.End(err)
	}
	if write {
		c.spawn.Load().run(c.writer)
	}
	return err
}

// erase empties the journal: the channel is over, in good order.
func (c *Channel) erase() {
	l := c.ledger
	if l == nil {
		return
	}
	l.saving.Acquire(c.cfg.Env)
	defer l.saving.Release()
	c.mu.Lock()
	over, drop := l.over, int(l.end-l.head)
	l.over = true
	c.mu.Unlock()
	if !over {
		_ = c.cfg.Save([]byte{}, drop, nil) // the next life would learn that it is over from the other end
	}
}

// unmarked reports whether the journal has to learn of what was consumed before
// the other end is told. The caller holds mu.
func (c *Channel) unmarked() bool {
	if c.ledger == nil || !c.hurry {
		return false
	}
	c.digest(false)
	return c.tellable() < c.consumed
}
