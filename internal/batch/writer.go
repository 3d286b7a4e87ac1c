package batch

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is the error of an append that would exceed the bounds of [Config]:
// call [Writer.WaitRoom] and try again, or drop the frame.
var ErrFull = errors.New("batch: no room until the stream takes more")

// ErrClosed is the error of an append after Close, and of Drop(nil).
var ErrClosed = errors.New("batch: writer is closed")

// Config bounds a [Writer]. The zero value works.
type Config struct {
	// MaxBytes is how many bytes may wait while others are being written. A
	// frame is taken as long as fewer wait, so that the last one may exceed it
	// by its own size. Default 256 KiB.
	MaxBytes int
	// MaxFrames is how many frames may wait. Default 65536.
	MaxFrames int
	// ByReference is from which size on payloads that are given away
	// ([Writer.AppendRef]) are written from where they are, not copied, where
	// the stream can gather (TCP and Unix sockets). Others are copied below 16
	// times that. Default 4 KiB.
	ByReference int
	// WriteTimeout bounds the writing of each batch, if the stream has a method
	// SetWriteDeadline. Zero: no bound.
	WriteTimeout time.Duration
	// OnError, if not nil, is called once with the first error of the stream,
	// by the goroutine that wrote, after the completions of the batch. Drop is
	// no error of the stream.
	OnError func(error)
}

// Defaults of [Config].
const (
	defaultMaxBytes    = 256 << 10
	defaultMaxFrames   = 64 << 10
	defaultByReference = 4 << 10
	copyUpTo           = 16 // times ByReference, where a stream cannot gather
)

func (c Config) withDefaults() Config {
	if c.MaxBytes <= 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.MaxFrames <= 0 {
		c.MaxFrames = defaultMaxFrames
	}
	if c.ByReference <= 0 {
		c.ByReference = defaultByReference
	}
	return c
}

// A Writer gathers frames of any goroutines and writes them, in the order in
// which they were appended, to one stream. It writes from a goroutine that
// lives while there is something to write; from outside nobody else may write
// to the stream meanwhile. Methods may be called from any goroutine.
//
// The first error of the stream sticks: what waits and what was being written
// fails with it, and so does every later call. After Close or Drop nothing is
// left running once [Writer.Flush] returns, which it does when the stream's
// Write does: the owner closes the stream, the Writer never does.
//
// # Completions
//
// A frame may come with a function done. It is called exactly once, by the
// goroutine that writes, without a lock held, in the order of the frames: with
// nil when the stream has taken the frame whole, else with the error. Of a
// batch that failed it is not known how much arrived. done may append, but not
// wait for room or Flush, and must not panic. It is not called for frames that
// an append refused.
type Writer struct {
	w        io.Writer
	deadline interface{ SetWriteDeadline(time.Time) error } // nil: w has none
	prompt   Prompt                                         // nil: w is none
	gathers  bool                                           // w does writev
	c        Config
	run      func()        // as go w.loop() would allocate
	room     chan struct{} // one token: somebody who waits for room may look again
	failed   atomic.Bool   // as err != nil, for who is about to write

	mu      sync.Mutex    // guards what follows
	pending pile          // what gathers
	free    pile          // empty: to swap with
	err     error         // why nothing more is written
	closed  bool          // nothing more is taken
	writing bool          // somebody is writing, and will look at pending again
	waiting int           // for room
	size    int           // of the last batch: a guess at that of the next
	done    chan struct{} // closed when the batch that is being written is done; nil: nobody waits
	stats   Stats
	// appended and finished count frames, written or failed.
	appended, finished uint64

	// Of whoever is writing.
	head []byte // of WriteThrough
	vec  [][]byte
	vecs net.Buffers // into vec; a field, as it escapes
}

// Stats counts what a [Writer] has written. Counters only grow.
type Stats struct {
	Frames, Bytes uint64 // that the stream has taken
	Batches       uint64 // in so many calls of Write or writev
}

// New returns a Writer for w, to which nobody else may write.
func New(w io.Writer, c Config) *Writer {
	t := &Writer{w: w, c: c.withDefaults(), room: make(chan struct{}, 1)}
	t.run = t.loop
	t.deadline, _ = w.(interface{ SetWriteDeadline(time.Time) error })
	t.prompt, _ = w.(Prompt)
	switch w.(type) {
	case *net.TCPConn, *net.UnixConn:
		t.gathers = true
	}
	return t
}

// Append takes a copy of a frame. It never waits for the stream: the error is
// ErrFull, ErrClosed, or what the stream failed with.
func (w *Writer) Append(frame []byte) error { return w.AppendRef(frame, nil, nil) }

// AppendFunc lets encode append a frame where it will be written from, without
// a copy. What encode was given to extend it must not look at or change. It
// runs under the Writer's lock: it must not wait and not call the Writer.
// Should it fail or panic, nothing is appended, and its error is returned. done
// may be nil.
func (w *Writer) AppendFunc(encode func(dst []byte) ([]byte, error), done func(error)) error {
	w.mu.Lock()
	defer w.unlock() // encode may panic
	if err := w.encode(encode, done); err != nil {
		return err
	}
	w.start()
	return nil
}

// WriteFunc is AppendFunc for where a microsecond counts more than the number
// of system calls: if nobody is writing, the caller does at once, without
// letting others join. It may wait for the stream, for WriteTimeout, and then
// calls done by itself. It tells nothing of what became of the frame: done does.
func (w *Writer) WriteFunc(encode func(dst []byte) ([]byte, error), done func(error)) error {
	write := false
	err := func() error {
		w.mu.Lock()
		defer w.unlock()
		err := w.encode(encode, done)
		write = err == nil && !w.writing
		w.writing = w.writing || write
		return err
	}()
	if write && w.flush() {
		w.mu.Lock()
		w.leave()
		w.mu.Unlock()
	}
	return err
}

// A Prompt is a stream that can take bytes without waiting: as many as it has room
// for, none if it cannot tell. An error is one of the stream.
type Prompt interface {
	TryWrite(p []byte) (n int, err error)
}

// AnswerFunc is AppendFunc for what answers something that has just been read: if
// nobody is writing the caller writes, as WriteFunc does, but only what the stream
// takes at once. A goroutine writes the rest.
func (w *Writer) AnswerFunc(encode func(dst []byte) ([]byte, error)) error {
	if w.prompt == nil {
		return w.AppendFunc(encode, nil)
	}
	write := false
	err := func() error {
		w.mu.Lock()
		defer w.unlock() // encode may panic
		err := w.encode(encode, nil)
		write = err == nil && !w.writing
		w.writing = w.writing || write
		return err
	}()
	if write {
		w.flushNow()
	}
	return err
}

// encode appends what encode does. w.mu is held.
func (w *Writer) encode(encode func(dst []byte) ([]byte, error), done func(error)) error {
	if err := w.refuse(); err != nil {
		return err
	}
	k := w.pending.open(w.size)
	b, err := encode(k.b)
	if err != nil {
		return err
	}
	n := len(b) - len(k.b)
	if n < 0 {
		return errShrunk
	}
	k.b = b
	w.count(n, done)
	return nil
}

// unlock is deferred around what may fail to append.
func (w *Writer) unlock() {
	if w.pending.frames == 0 {
		w.pending.shut()
	}
	w.mu.Unlock()
}

// AppendRef takes a frame of two parts: a copy of head, and payload, which the
// Writer may use where it is: it must not change until done is called, or
// ever if done is nil.
func (w *Writer) AppendRef(head, payload []byte, done func(error)) error {
	w.mu.Lock()
	if err := w.refuse(); err != nil {
		w.mu.Unlock()
		return err
	}
	w.add(head, payload, done)
	w.start()
	w.mu.Unlock()
	return nil
}

// WriteThrough returns when the stream has taken the frame. Where nothing else
// is being written the caller writes by itself, from where the bytes are: for
// large frames that is as fast as the stream. It waits without bound but for
// WriteTimeout.
func (w *Writer) WriteThrough(head, payload []byte) error {
	w.mu.Lock()
	err := w.refuse()
	for err == ErrFull {
		w.mu.Unlock()
		if err = w.WaitRoom(context.Background()); err != nil {
			return err
		}
		w.mu.Lock()
		err = w.refuse()
	}
	switch {
	case err != nil:
		w.mu.Unlock()
		return err
	case w.writing:
		s := signals.Get().(*signal)
		w.add(head, payload, s.done)
		w.mu.Unlock()
		err := <-s.c
		signals.Put(s)
		return err
	}
	w.writing = true
	if !w.byReference(len(payload)) { // two writes, or two TLS records, cost more than a copy
		w.add(head, payload, nil)
		w.mu.Unlock()
		w.flush()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.leave()
		return w.err
	}
	w.appended++
	w.mu.Unlock()
	w.vec, w.head = w.vec[:0], append(w.head[:0], head...)
	for _, p := range [...][]byte{w.head, payload} {
		if len(p) > 0 {
			w.vec = append(w.vec, p)
		}
	}
	err = w.write(len(head) + len(payload))
	if err != nil {
		w.report(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finish(1, len(head)+len(payload), err)
	w.leave()
	return err
}

// WaitRoom waits until an append has a chance to be taken: another goroutine
// may be faster, so use it in a loop. It fails when ctx ends, with its cause,
// and when the Writer does.
func (w *Writer) WaitRoom(ctx context.Context) error {
	w.mu.Lock()
	for {
		if err := w.refuse(); err != ErrFull {
			w.pass() // the next one may have room too, or has to learn of the error
			w.mu.Unlock()
			return err
		}
		w.waiting++
		w.mu.Unlock()
		var err error
		select {
		case <-w.room:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		w.mu.Lock()
		w.waiting--
		if err != nil {
			w.pass() // the token may have been meant for this one
			w.mu.Unlock()
			return err
		}
	}
}

// Flush waits until all that was appended before is written and its
// completions have returned, or ctx ends; its error is the Writer's, or the
// cause of ctx. After an error of the Writer it returns when nobody writes any
// more.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	target := w.appended
	for w.writing && (w.err != nil || w.finished < target) {
		if w.done == nil {
			w.done = make(chan struct{})
		}
		done := w.done
		w.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		w.mu.Lock()
	}
	err := w.err
	w.mu.Unlock()
	return err
}

// Close takes no more frames and waits until those that wait are written. When
// ctx ends before, the rest is dropped with its cause, which is returned. A
// second call waits too.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true // who waits for room learns of it
	w.pass()
	w.mu.Unlock()
	err := w.Flush(ctx)
	if err != nil && ctx.Err() != nil {
		w.Drop(err)
	}
	return err
}

// Drop takes no more frames and fails those that wait with cause, nil meaning
// ErrClosed. A Write in progress is cut short if the stream has deadlines. It
// does not wait: [Writer.Flush] does. After the first error it does nothing.
func (w *Writer) Drop(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	w.mu.Lock()
	first := w.err == nil
	w.fail(cause)
	w.mu.Unlock()
	if first && w.deadline != nil {
		_ = w.deadline.SetWriteDeadline(time.Unix(1, 0)) // as of a stream that is closed: nobody writes
	}
}

// Err returns what the Writer failed with, nil while it works.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Pending tells how much waits, without what is being written.
func (w *Writer) Pending() (frames, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending.frames, w.pending.bytes
}

// Stats tells what has been written.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}
