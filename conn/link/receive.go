package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/batch"
)

// A receiver is the half of a link that one goroutine at a time uses.
type receiver[In any] struct {
	busy   atomic.Bool // somebody receives
	reader *batch.Reader
	seen   int   // bytes in which there is no whole frame
	need   int   // for there to be one
	in     In    // what is being decoded
	failed error // why nothing more comes

	filled chan error // what the Fill that runs beside ends with; nil: none does

	watch struct {
		mu      sync.Mutex      // guards what follows
		ended   <-chan struct{} // of the context that is registered
		stop    func() bool     // of the registration
		bounded bool            // the stream has a deadline
		reading bool
	}
}

var errTwoReceivers = errors.New("link: Recv while another goroutine receives: one at a time may")

// Recv waits for the next message until ctx ends, and then fails with its
// cause; the link is as it was. After io.EOF, or an error that has ended the
// link, it returns the same again. One goroutine at a time may receive.
func (l *Link[In, Out]) Recv(ctx context.Context) (v In, err error) {
	if !l.busy.CompareAndSwap(false, true) {
		return v, errTwoReceivers
	}
	defer l.caughtReceiving(&err)
	for {
		if l.replying {
			if err := l.sendReply(ctx); err != nil {
				return v, err
			}
		}
		if v, ok, err := l.take(); ok || err != nil {
			return v, err
		}
		if l.replying {
			continue
		}
		if err := l.fill(ctx); err != nil {
			return v, err
		}
	}
}

// TryRecv returns the next message if it is there already, and false without
// an error if it is not. On a stream without a descriptor of its own (TLS,
// net.Pipe) the first call in vain starts a goroutine that reads what comes
// next.
func (l *Link[In, Out]) TryRecv() (v In, ok bool, err error) {
	if !l.busy.CompareAndSwap(false, true) {
		return v, false, errTwoReceivers
	}
	defer l.caughtReceiving(&err)
	l.polled.Store(true)
	for {
		if l.replying {
			if sent, err := l.TrySend(l.reply); err != nil || !sent {
				return v, false, err
			}
			l.replied()
		}
		if v, ok, err = l.take(); ok || err != nil {
			return v, ok, err
		}
		if l.replying {
			continue
		}
		switch err := l.tryFill(); {
		case err == batch.ErrNotBuffered:
			return v, false, nil
		case err != nil:
			return v, false, err
		}
	}
}

// All returns the messages that come until the link or ctx ends, and then the
// error, unless it is io.EOF. As with Recv, one goroutine at a time may range.
func (l *Link[In, Out]) All(ctx context.Context) iter.Seq2[In, error] {
	return func(yield func(In, error) bool) {
		for {
			v, err := l.Recv(ctx)
			if err == io.EOF || !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// caughtReceiving lets the next one receive, and ends the link if hooks, codec
// or framer have panicked.
func (l *Link[In, Out]) caughtReceiving(err *error) {
	if x := recover(); x != nil {
		*err = l.lost(&PanicError{Value: x, Stack: debug.Stack()})
	}
	l.busy.Store(false)
}

func (l *Link[In, Out]) sendReply(ctx context.Context) error {
	err := l.Send(ctx, l.reply)
	if err == nil || ctx.Err() == nil { // what could not be sent is not tried for ever
		l.replied()
	}
	return err
}

func (l *Link[In, Out]) replied() {
	var zero Out
	l.reply, l.replying = zero, false
}

// take returns the next message that nobody skips of those that are in the
// buffer.
func (l *Link[In, Out]) take() (v In, ok bool, err error) {
	if l.receiver.failed != nil {
		return v, false, l.receiver.failed
	}
	if l.filled != nil { // the buffer is somebody else's
		return v, false, nil
	}
	for !l.replying {
		v, ok, err = l.decode()
		if err != nil {
			err = l.lost(err)
			return v, false, err
		}
		if !ok {
			return v, false, nil
		}
		l.messagesIn.Add(1)
		if l.hooks.OnReceive == nil && l.hooks.Reply == nil && l.hooks.Skip == nil && l.observer == nil {
			return v, true, nil
		}
		skip := l.received(v)
		if l.replying {
			if sent, _ := l.TrySend(l.reply); sent { // else the next call does, or says why not
				l.replied()
			}
		}
		if !skip {
			return v, true, nil
		}
	}
	var zero In
	return zero, false, nil
}

// lost ends the link with err, and returns what it has ended with.
func (l *Link[In, Out]) lost(err error) error {
	l.end(err)
	err = l.Err() // it may have ended before
	l.receiver.failed = err
	return err
}

// decode decodes the next frame, if it is whole.
func (l *Link[In, Out]) decode() (v In, ok bool, err error) {
	buf := l.reader.Bytes()
	if len(buf) < l.need || len(buf) == 0 {
		return v, false, nil
	}
	frame, n, err := l.framer.Next(buf, l.seen)
	switch {
	case err != nil:
		return v, false, fmt.Errorf("link: receive: %w", err)
	case n <= 0:
		return v, false, fmt.Errorf("link: the framer, %T, found a frame of %d bytes", l.framer, n)
	case n > len(buf):
		l.seen, l.need = len(buf), n
		return v, false, nil
	}
	l.seen, l.need = 0, 0
	l.reader.Discard(n) // the bytes stay until the next read
	if err := l.codec.Decode(frame, &l.in); err != nil {
		return v, false, fmt.Errorf("link: receive: %w", err)
	}
	v = l.in
	var zero In
	l.in = zero
	return v, true, nil
}

// fill waits for more bytes.
func (l *Link[In, Out]) fill(ctx context.Context) error {
	l.waiting.Store(true)
	defer l.waiting.Store(false)
	if l.filled != nil {
		select {
		case err := <-l.filled:
			l.filled = nil
			return l.ended(err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for {
		if err := l.begin(ctx); err != nil {
			return err
		}
		var err error
		held := len(l.reader.Bytes())
		if spin := l.config.BusyPoll; spin > 0 {
			err = l.reader.FillSpinning(l.need, spin)
		} else {
			err = l.reader.Fill(l.need)
		}
		l.came(held)
		l.watch.mu.Lock()
		l.watch.reading = false
		l.watch.mu.Unlock()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || l.Err() != nil {
			return l.ended(err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
			return context.DeadlineExceeded // ctx is about to say so
		}
		// The deadline was that of an earlier call.
	}
}

// begin makes the stream's deadline that of ctx, and lets ctx cut the read
// short. The registration stays for the next call with the same ctx.
func (l *Link[In, Out]) begin(ctx context.Context) error {
	w := &l.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	deadline, bounded := ctx.Deadline()
	if bounded || w.bounded {
		if !bounded {
			deadline = time.Time{}
		}
		_ = l.stream.SetReadDeadline(deadline) // if it fails, so does the read
		w.bounded = bounded
	}
	if ctx.Done() != nil {
		if ended := ctx.Done(); w.ended != ended {
			if w.stop != nil {
				w.stop()
			}
			w.ended, w.stop = ended, context.AfterFunc(ctx, func() { l.interrupt(ended) })
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	} else if w.stop != nil {
		w.stop()
		w.ended, w.stop = nil, nil
	}
	w.reading = true
	return nil
}

// interrupt ends the read of a Recv whose context has ended.
func (l *Link[In, Out]) interrupt(ended <-chan struct{}) {
	w := &l.watch
	w.mu.Lock()
	var err error
	if w.ended == ended && w.reading {
		err = l.stream.SetReadDeadline(past)
		w.bounded = true
	}
	w.mu.Unlock()
	if panicked(err) { // nothing else ends the read then
		l.end(fmt.Errorf("link: receive: %w", err))
	}
}

// unwatch ends the registration.
func (l *Link[In, Out]) unwatch() {
	w := &l.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		w.stop()
		w.ended, w.stop = nil, nil
	}
}

// tryFill reads what is there.
func (l *Link[In, Out]) tryFill() error {
	if l.reader.CanTry() {
		l.watch.mu.Lock()
		if l.watch.bounded { // of an earlier Recv
			_ = l.stream.SetReadDeadline(time.Time{})
			l.watch.bounded = false
		}
		l.watch.mu.Unlock()
		held := len(l.reader.Bytes())
		err := l.reader.TryFill(l.need)
		if err == batch.ErrNotBuffered {
			return err
		}
		l.came(held)
		return l.ended(err)
	}
	if l.filled == nil {
		if !l.enter() {
			return l.ended(l.Err())
		}
		_ = l.begin(context.Background())
		filled, need := make(chan error, 1), l.need
		l.filled = filled
		go func() {
			defer l.beside.Done()
			held := len(l.reader.Bytes())
			err := l.reader.Fill(need)
			l.came(held)
			filled <- err
		}()
	}
	select {
	case err := <-l.filled:
		l.filled = nil
		return l.ended(err)
	default:
		return batch.ErrNotBuffered
	}
}

// came counts what has been read since the buffer held so many bytes.
func (l *Link[In, Out]) came(held int) {
	if n := len(l.reader.Bytes()) - held; n > 0 {
		l.bytesIn.Add(uint64(n))
	}
}

// ended says what an error of reading means.
func (l *Link[In, Out]) ended(err error) error {
	if err == nil {
		return nil
	}
	if cause := l.Err(); cause != nil {
		l.receiver.failed = cause
		return cause
	}
	var closed *conn.CloseError
	if errors.As(err, &closed) && closed.Remote && closed.Code == conn.CodeClosed && closed.Reason == "" {
		err = io.EOF
	}
	switch {
	case err != io.EOF:
		return l.lost(fmt.Errorf("link: receive: %w", err))
	case len(l.reader.Bytes()) > 0:
		return l.lost(fmt.Errorf("link: receive: the stream ended within a frame: %w", io.ErrUnexpectedEOF))
	}
	l.receiver.failed = io.EOF
	l.reader.Release()
	return io.EOF
}
