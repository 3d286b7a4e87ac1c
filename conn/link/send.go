package link

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/plexus-net/plexus/internal/batch"
)

// throughFrom is from which size on a message that is its own encoding is
// written by the sender itself, from where it is.
const throughFrom = 16 << 10

// Send sends a message. It returns when there is room for it in the buffer,
// and waits for that until ctx ends: then the error is its cause, and the
// message is not sent. An error of the codec concerns this message only. v
// belongs to the caller again when Send returns, but where somebody is told of
// what was sent: what v refers to must not be changed before [Hooks.OnSent], nor
// before an observer has seen it, unless it is bytes.
//
// Where ctx cannot end, a large message of bytes may be written before Send
// returns, by the caller.
func (l *Link[In, Out]) Send(ctx context.Context, v Out) error {
	if l.lender != nil && ctx.Done() == nil {
		if done, err := l.through(v); done {
			return err
		}
	}
	for {
		err := l.put(v, l.config.BusyPoll > 0)
		if err != batch.ErrFull {
			return l.failed(err)
		}
		if err := l.blocked(); err != nil {
			l.end(err)
			return err
		}
		if err := l.writer.WaitRoom(ctx); err != nil {
			return l.failed(err)
		}
	}
}

// TrySend sends a message if there is room for it. It reports false without
// an error if there is none.
func (l *Link[In, Out]) TrySend(v Out) (bool, error) {
	err := l.put(v, false)
	if err == batch.ErrFull {
		if err = l.blocked(); err != nil {
			l.end(err)
		}
		return false, err
	}
	return err == nil, l.failed(err)
}

// Flush waits until the stream has taken all that was sent before, or ctx
// ends.
func (l *Link[In, Out]) Flush(ctx context.Context) error { return l.failed(l.writer.Flush(ctx)) }

// failed makes errors of the writer those of the link.
func (l *Link[In, Out]) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case err == batch.ErrClosed:
		return ErrClosed // Close is under way
	case l.writer.Err() != nil:
		if cause := l.Err(); cause != nil {
			return cause
		}
		return fmt.Errorf("link: send: %w", err) // and the link is about to end with it
	}
	return err
}

// put encodes a message into the buffer. now: and writes it, if nobody does.
func (l *Link[In, Out]) put(v Out, now bool) (err error) {
	defer l.caughtSending(&err)
	encode := func(dst []byte) ([]byte, error) { return l.encode(dst, v) }
	if now {
		return l.writer.WriteFunc(encode, l.sentFunc)
	}
	return l.writer.AppendFunc(encode, l.sentFunc)
}

// caughtSending ends the link if OnSend, codec or framer have panicked. It is
// called when the writer's lock is free again.
func (l *Link[In, Out]) caughtSending(err *error) {
	if x := recover(); x != nil {
		*err = &PanicError{Value: x, Stack: debug.Stack()}
		l.end(*err)
	}
}

// encode is called under the writer's lock. l.out is where the message is
// meanwhile: a pointer to a variable of put would be an allocation.
func (l *Link[In, Out]) encode(dst []byte, v Out) ([]byte, error) {
	l.out = v
	if l.hooks.OnSend != nil {
		l.hooks.OnSend(&l.out)
	}
	b, err := l.codec.Append(l.framer.Open(dst), &l.out)
	switch start := len(dst); {
	case err != nil:
	case len(b) < start:
		err = fmt.Errorf("link: the codec, %T, did not append", l.codec)
	default:
		b, err = l.framer.Seal(b, start)
	}
	if err == nil && l.sentFunc != nil {
		v := l.out // as OnSend has made it
		if l.observer != nil {
			v = own(v)
		}
		l.accepted.mu.Lock()
		l.accepted.push(v)
		l.accepted.mu.Unlock()
	}
	var zero Out
	l.out = zero // what it refers to is the caller's
	return b, err
}

// through lets the caller write a large message by itself. done: that is what
// has happened.
func (l *Link[In, Out]) through(v Out) (done bool, err error) {
	payload := l.lender.lend(v)
	if len(payload) < throughFrom {
		return false, nil
	}
	var field [16]byte
	head, ok := l.prefix.lead(field[:0], len(payload))
	if !ok {
		return false, nil
	}
	return true, l.failed(l.writer.WriteThrough(head, payload))
}

// A ring is a queue. The caller locks it.
type ring[T any] struct {
	mu    sync.Mutex // guards what follows
	items []T
	first int
	count int
}

const keepRing = 64 // items of room that an empty ring keeps

func (r *ring[T]) push(v T) {
	if r.count == len(r.items) {
		more := make([]T, max(8, 2*r.count))
		n := copy(more, r.items[r.first:])
		copy(more[n:], r.items[:r.first])
		r.items, r.first = more, 0
	}
	r.items[(r.first+r.count)%len(r.items)] = v
	r.count++
}

func (r *ring[T]) pop() T {
	v := r.items[r.first]
	var zero T
	r.items[r.first] = zero
	r.first = (r.first + 1) % len(r.items)
	if r.count--; r.count == 0 && len(r.items) > keepRing {
		r.items, r.first = nil, 0
	}
	return v
}
