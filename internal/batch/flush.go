package batch

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"time"
)

var errShrunk = errors.New("batch: encode returned less than it was given; it has to append")

// A pile is a batch that gathers: bytes in a buffer, and payloads that are
// written from elsewhere, with where in the buffer they belong.
type pile struct {
	block  *block // nil: nothing is in it
	refs   []ref
	dones  []func(error) // of the frames that have one
	frames int
	bytes  int // with those of refs
}

type ref struct {
	at int // bytes of the buffer that come before
	p  []byte
}

// open returns the buffer to append to.
func (p *pile) open(size int) *block {
	if p.block == nil {
		p.block = obtain(size)
	}
	return p.block
}

// shut gives the buffer back.
func (p *pile) shut() {
	if p.block != nil {
		release(p.block)
		p.block = nil
	}
}

// keep is how many completions and references a pile has room for while idle.
const keep = 64

// reset empties a pile whose frames are done with.
func (p *pile) reset() {
	if p.block != nil {
		p.block.b = p.block.b[:0]
	}
	clear(p.refs) // they belong to somebody else
	clear(p.dones)
	p.refs, p.dones = p.refs[:0], p.dones[:0]
	p.frames, p.bytes = 0, 0
}

// trim makes a pile that is empty small.
func (p *pile) trim() {
	p.shut()
	if cap(p.refs) > keep {
		p.refs = nil
	}
	if cap(p.dones) > keep {
		p.dones = nil
	}
}

// pieces appends what is to be written to vec.
func (p *pile) pieces(vec [][]byte) [][]byte {
	at := 0
	for _, r := range p.refs {
		if r.at > at {
			vec = append(vec, p.block.b[at:r.at])
			at = r.at
		}
		vec = append(vec, r.p)
	}
	if p.block != nil && len(p.block.b) > at {
		vec = append(vec, p.block.b[at:])
	}
	return vec
}

// refuse says why nothing can be appended now. w.mu is held.
func (w *Writer) refuse() error {
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return ErrClosed
	case w.pending.bytes >= w.c.MaxBytes || w.pending.frames >= w.c.MaxFrames:
		return ErrFull
	}
	return nil
}

// byReference reports whether a payload of n bytes is written from where it is.
func (w *Writer) byReference(n int) bool {
	return n >= w.c.ByReference && (w.gathers || n >= copyUpTo*w.c.ByReference)
}

// add appends a frame. w.mu is held.
func (w *Writer) add(head, payload []byte, done func(error)) {
	p := &w.pending
	byRef := w.byReference(len(payload))
	if size := len(head) + len(payload); size > 0 {
		if byRef {
			size = len(head)
		}
		k := p.open(max(w.size, size))
		k.b = append(k.b, head...)
		if byRef {
			p.refs = append(p.refs, ref{len(k.b), payload})
		} else {
			k.b = append(k.b, payload...)
		}
	}
	w.count(len(head)+len(payload), done)
}

// count is told of a frame that has been appended: somebody has to write it.
// w.mu is held.
func (w *Writer) count(n int, done func(error)) {
	p := &w.pending
	p.frames++
	p.bytes += n
	if done != nil {
		p.dones = append(p.dones, done)
	}
	w.appended++
}

// start sees to it that what has been appended is written. w.mu is held.
func (w *Writer) start() {
	if !w.writing && w.pending.frames > 0 {
		w.writing = true
		go w.run()
	}
}

// leave is called by a sender that has written by itself. w.mu is held.
func (w *Writer) leave() {
	if w.pending.frames == 0 {
		w.rest()
	} else {
		go w.run()
	}
}

// pass lets one more of those who wait for room look. w.mu is held.
func (w *Writer) pass() {
	if w.waiting > 0 {
		select {
		case w.room <- struct{}{}:
		default: // somebody will, and pass on
		}
	}
}

// fail makes err the Writer's error, if it has none. w.mu is held.
func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
		w.failed.Store(true)
		w.pass()
	}
}

// loop writes until nothing is left. w.writing is true meanwhile, and what is
// in pending is its to write or fail.
func (w *Writer) loop() {
	for {
		runtime.Gosched() // senders that are runnable now join this batch
		if !w.flush() {
			return
		}
	}
}

// flush writes what is in pending, or ends the writing if there is nothing:
// false.
func (w *Writer) flush() bool {
	out, err := w.take()
	if out.frames == 0 {
		return false
	}
	w.deliver(out, 0, err)
	return true
}

// take takes what is in pending, and ends the writing if there is nothing. err is
// why it is not to be written.
func (w *Writer) take() (out pile, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending.frames == 0 {
		w.rest()
		return pile{}, nil
	}
	out = w.pending
	w.pending, w.free = w.free, pile{}
	w.size = 0
	if out.block != nil {
		w.size = len(out.block.b)
	}
	w.pass()
	return out, w.err
}

// deliver writes a pile but for the bytes that are written already, unless err says
// that it is too late for that.
func (w *Writer) deliver(out pile, written int, err error) {
	if err != nil {
		w.complete(out, err, nil)
		return
	}
	w.vec = out.pieces(w.vec[:0])
	if written > 0 {
		w.vec[0] = w.vec[0][written:]
	}
	err = w.write(out.bytes - written)
	w.complete(out, err, err)
}

// complete tells what became of a pile. failed is an error of the stream.
func (w *Writer) complete(out pile, err, failed error) {
	frames, bytes := out.frames, out.bytes
	for _, done := range out.dones {
		done(err)
	}
	if failed != nil {
		w.report(failed)
	}
	out.reset()
	w.mu.Lock()
	w.free = out
	w.finish(frames, bytes, err)
	w.mu.Unlock()
}

// flushNow writes what is in pending as far as the stream takes it at once, and
// leaves the rest to a goroutine.
func (w *Writer) flushNow() {
	out, err := w.take()
	if out.frames == 0 {
		return
	}
	written, failed := 0, error(nil)
	if err == nil && len(out.refs) == 0 && len(out.dones) == 0 && out.bytes > 0 {
		written, failed = w.prompt.TryWrite(out.block.b)
	}
	if err == nil && failed == nil && written < out.bytes {
		go w.finishLater(out, written)
		return
	}
	if failed != nil {
		if err = failed; w.failed.Load() {
			err = w.Err()
		}
	}
	w.complete(out, err, failed)
	w.mu.Lock()
	w.leave()
	w.mu.Unlock()
}

// finishLater goes on with what flushNow has begun.
func (w *Writer) finishLater(out pile, written int) {
	w.deliver(out, written, nil)
	w.loop()
}

// write writes what is in w.vec, of n bytes.
func (w *Writer) write(n int) error {
	if w.deadline != nil && w.c.WriteTimeout > 0 {
		// That it fails on a stream that is closed, Write will say.
		_ = w.deadline.SetWriteDeadline(time.Now().Add(w.c.WriteTimeout))
	}
	if w.failed.Load() { // Drop's deadline may have been replaced just now
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.err
	}
	var err error
	switch len(w.vec) {
	case 0:
	case 1:
		var k int
		if k, err = w.w.Write(w.vec[0]); err == nil && k < n {
			err = io.ErrShortWrite
		}
	default:
		w.vecs = w.vec
		var k int64
		if k, err = w.vecs.WriteTo(w.w); err == nil && k < int64(n) {
			err = io.ErrShortWrite
		}
		w.vecs = nil
	}
	clear(w.vec)
	if err != nil && w.failed.Load() {
		return w.Err() // what Drop cut short fails with Drop's cause
	}
	return err
}

// report tells of an error of the stream, which sticks from here on.
func (w *Writer) report(err error) {
	w.mu.Lock()
	first := w.err == nil
	w.fail(err)
	w.mu.Unlock()
	if first && w.c.OnError != nil {
		w.c.OnError(err)
	}
}

// finish is told of a batch that has been written, or not. w.mu is held.
func (w *Writer) finish(frames, bytes int, err error) {
	w.finished += uint64(frames)
	if err != nil {
		w.fail(err)
	} else {
		w.stats.Frames += uint64(frames)
		w.stats.Bytes += uint64(bytes)
		w.stats.Batches++
	}
	w.tell()
}

// tell wakes those in Flush. w.mu is held.
func (w *Writer) tell() {
	if w.done != nil {
		close(w.done)
		w.done = nil
	}
}

// rest ends the writing, as nothing is left. w.mu is held.
func (w *Writer) rest() {
	w.writing = false
	w.pending.trim()
	w.free.trim()
	if cap(w.vec) > keep {
		w.vec = nil
	}
	w.tell()
}

// A signal is how WriteThrough waits for who is writing.
type signal struct {
	c    chan error
	done func(error)
}

var signals = sync.Pool{New: func() any {
	s := &signal{c: make(chan error, 1)}
	s.done = func(err error) { s.c <- err }
	return s
}}
