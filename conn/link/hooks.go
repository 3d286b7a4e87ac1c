package link

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// Hooks take part in what a link does. Each may be nil. Config.Hooks makes them
// anew for every link; they are called until the link has ended. Unless said
// otherwise, they must not wait and not call the link, except for Abort; OnSend,
// which runs under a lock, not even that: it may panic.
type Hooks[In, Out any] struct {
	// OnStream gets the bare stream first of all, may write and read it, and
	// returns what the link is to use: the same, or one that wraps it; the link
	// closes both. After ctx, reading and writing fail. dialled is true on the
	// side that dialled.
	OnStream func(ctx context.Context, s Stream, dialled bool) (Stream, error)
	// OnLogin sends and receives on the link before anybody else does. ctx
	// ends with Config.LoginTimeout. An error refuses the link.
	OnLogin func(ctx context.Context, l *Link[In, Out]) error

	// OnSend may change a message that is about to be encoded. It is called in
	// the order of sending, once for each that is accepted, and also for one
	// that the codec then refuses.
	OnSend func(v *Out)
	// OnSent is called exactly once for each message that was accepted, in
	// order: with nil when the stream has taken it whole, else with why not.
	// What v refers to is what the sender has given: it must not be changed
	// before this.
	OnSent func(v Out, err error)
	// OnBlock is called when a message finds no room: TrySend returns false
	// after it, Send waits.
	OnBlock func()
	// OnReceive is called for each message before anything else is done with
	// it.
	OnReceive func(v In)
	// Reply answers v by itself, if it returns true; v is received all the
	// same. A reply that finds no room is sent by the next call of Recv or
	// TryRecv, before it looks for another message.
	Reply func(v In) (Out, bool)
	// Skip keeps messages from Recv: heartbeats and what Reply has dealt with.
	Skip func(v In) bool

	Heartbeat Heartbeat[Out]

	// Goodbye is the last message of Close, if it returns true. It is not sent
	// where the link ends in another way.
	Goodbye func() (Out, bool)
	// OnError is called once with why the link ended, if it was not closed.
	OnError func(err error)
}

// A Heartbeat keeps a link alive and notices that it is not.
type Heartbeat[Out any] struct {
	// Interval is the time between two heartbeats. Zero: none.
	Interval time.Duration
	// Message is what to send every Interval, whatever else is sent; one that
	// finds no room is left out. nil: nothing.
	Message func() Out
	// Misses is how many intervals in a row may pass without anything
	// received, while somebody waits in Recv or calls TryRecv: then the link
	// ends with [ErrSilent]. Zero: silence is not noticed. Where nobody
	// receives, nothing can be missed.
	Misses int
}

// A PanicError is what a link ends with whose hook, codec, framer, observer or
// stream panicked. Where there is no link yet, it is the error of what called
// it: Dial, New, Accept of a listener, Feed of a pool.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("link: what the link was given panicked: %v", e.Value)
}

// caught is deferred around what is the user's.
func caught(err *error) {
	if x := recover(); x != nil {
		*err = &PanicError{Value: x, Stack: debug.Stack()}
	}
}

// guard calls f.
func guard(f func() error) (err error) {
	defer caught(&err)
	return f()
}

// received lets the hooks see what has come. skip: nobody else does.
func (l *Link[In, Out]) received(v In) (skip bool) {
	if l.hooks.OnReceive != nil {
		l.hooks.OnReceive(v)
	}
	if l.hooks.Reply != nil {
		l.reply, l.replying = l.hooks.Reply(v)
	}
	if l.observer != nil {
		l.observer.Observe(Event{Link: l.info, Time: time.Now(), Kind: Received, Message: own(v)})
	}
	return l.hooks.Skip != nil && l.hooks.Skip(v)
}

// blocked tells that a message found no room.
func (l *Link[In, Out]) blocked() (err error) {
	if l.hooks.OnBlock == nil && l.observer == nil {
		return nil
	}
	defer caught(&err)
	if l.hooks.OnBlock != nil {
		l.hooks.OnBlock()
	}
	if l.observer != nil {
		l.observer.Observe(Event{Link: l.info, Time: time.Now(), Kind: Blocked})
	}
	return nil
}

// sent tells what became of the oldest message that was accepted. The writer
// calls it, in order.
func (l *Link[In, Out]) sent(cause error) {
	l.accepted.mu.Lock()
	v := l.accepted.pop()
	l.accepted.mu.Unlock()
	err := guard(func() error {
		if l.hooks.OnSent != nil {
			l.hooks.OnSent(v, cause)
		}
		if l.observer != nil {
			l.observer.Observe(Event{Link: l.info, Time: time.Now(), Kind: Sent, Message: v, Err: cause})
		}
		return nil
	})
	if err != nil {
		l.end(err)
	}
}

// beat is called every Heartbeat.Interval.
func (l *Link[In, Out]) beat() {
	if !l.enter() {
		return
	}
	defer l.beside.Done()
	h := &l.hooks.Heartbeat
	bytes, waits := l.bytesIn.Load(), l.waiting.Load() || l.polled.Swap(false)
	if h.Misses > 0 && waits && l.beats.waited && bytes == l.beats.bytes {
		if l.beats.misses++; l.beats.misses >= h.Misses {
			l.end(fmt.Errorf("%w for %d heartbeats of %v", ErrSilent, h.Misses, h.Interval))
			return
		}
	} else {
		l.beats.misses = 0
	}
	l.beats.bytes, l.beats.waited = bytes, waits
	if h.Message != nil {
		var v Out
		err := guard(func() error { v = h.Message(); return nil })
		if err != nil {
			l.end(err)
			return
		}
		_, _ = l.TrySend(v) // a link that fails says so elsewhere
	}
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Reset(h.Interval)
	}
	l.mu.Unlock()
}
