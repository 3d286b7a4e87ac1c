package batch

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/plexus-net/plexus/internal/fd"
)

// ErrNotBuffered is the error of [Reader.TryFill] where nothing is there to be
// read.
var ErrNotBuffered = errors.New("batch: nothing to read yet")

// ErrCannotTry is the error of a Reader that was asked for what takes the
// descriptor of the stream, which it has not: to read without waiting, to spin.
var ErrCannotTry = errors.New("batch: the stream has no descriptor that can be read without waiting")

// A Reader takes what a stream has, as much as there is, and shows it where it
// lies. Its buffer grows to what arrives at once and to the frame that is
// under way, and shrinks again; while it waits for the first byte of a frame on
// a TCP or Unix socket it has none. One goroutine may use it.
//
//	for {
//		for {
//			n, need := parse(r.Bytes()) // a frame of n bytes; else at least need in all
//			if n == 0 { break }
//			r.Discard(n)
//		}
//		if err := r.Fill(need); err != nil { ... }
//	}
type Reader struct {
	r     io.Reader
	raw   syscall.RawConn // nil: not of a descriptor that we can read ourselves
	block *block          // nil: empty
	at    int             // in block.b: bytes before are discarded
	want  int             // size of the next buffer
	slack int             // reads in a row that a smaller buffer could have taken
	polls atomic.Uint64
	now   func() time.Time

	// What try, called by raw, works on: fields, as a closure would allocate.
	try  func(fd uintptr) bool
	wait bool // until there is something
	need int
	err  error
}

const (
	slackReads = 16        // after so many reads that were small the buffer halves
	maxWant    = 256 << 10 // that reads alone make it grow to

	maxEmptyReads = 100 // in a row, without an error

	// clockPolls is how often FillSpinning looks before it asks what time it
	// is, which costs a good part of a look.
	clockPolls = 8
)

// NewReader returns a Reader of r, which nobody else may read from.
func NewReader(r io.Reader) *Reader {
	t := &Reader{r: r, want: minBlock, now: time.Now}
	switch c := r.(type) {
	case *net.TCPConn, *net.UnixConn:
		if raw, err := c.(syscall.Conn).SyscallConn(); err == nil && fd.Works {
			t.raw, t.try = raw, t.readFD
		}
	}
	return t
}

// Bytes returns what has been read and not discarded. It is valid until the
// next call of Fill or TryFill.
func (r *Reader) Bytes() []byte {
	if r.block == nil {
		return nil
	}
	return r.block.b[r.at:]
}

// Discard drops the first n of Bytes.
func (r *Reader) Discard(n int) { r.at += n }

// CanTry reports whether TryFill and FillSpinning work.
func (r *Reader) CanTry() bool { return r.raw != nil }

// Fill waits until at least one more byte is there and makes room for need
// bytes in all, which the caller has checked against its limit; memory for them
// is taken as they arrive. io.EOF means that the stream has ended, whatever
// Bytes still has.
func (r *Reader) Fill(need int) error { return r.fill(need, true) }

// TryFill is Fill that does not wait: ErrNotBuffered if nothing is there.
func (r *Reader) TryFill(need int) error {
	if r.raw == nil {
		return ErrCannotTry
	}
	return r.fill(need, false)
}

// FillSpinning is Fill that looks again and again for up to spin, giving way to
// other goroutines in between, before it lets itself be woken: that saves what
// waking costs, and takes a processor. It looks at the clock with every eighth
// look, so that it may go on for seven more, and what the others take in
// between.
func (r *Reader) FillSpinning(need int, spin time.Duration) error {
	var end time.Time
	for n := 0; ; n++ {
		if err := r.TryFill(need); err != ErrNotBuffered {
			return err
		}
		r.polls.Add(1)
		if n%clockPolls == 0 {
			now := r.now()
			if n == 0 {
				end = now.Add(spin)
			}
			if !now.Before(end) {
				return r.Fill(need)
			}
		}
		runtime.Gosched()
	}
}

// Polls tells how often FillSpinning has looked in vain. Any goroutine may ask.
func (r *Reader) Polls() uint64 { return r.polls.Load() }

// Release gives the buffer back, with what is in it. The Reader is usable
// further.
func (r *Reader) Release() {
	if r.block != nil {
		release(r.block)
		r.block, r.at = nil, 0
	}
}

func (r *Reader) fill(need int, wait bool) error {
	r.need, r.wait, r.err = need, wait, nil
	if r.raw != nil {
		if err := r.raw.Read(r.try); err != nil {
			return err // closed, or past its deadline
		}
		return r.err
	}
	r.room()
	b := r.block.b
	for range maxEmptyReads {
		n, err := r.r.Read(b[len(b):cap(b)])
		if n > 0 {
			r.took(n)
			return nil // an error comes again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readFD reads what is there. That it returns false makes the poller wait.
func (r *Reader) readFD(socket uintptr) bool {
	r.room()
	b := r.block.b
	n, again, err := fd.Read(socket, b[len(b):cap(b)])
	switch {
	case again && r.wait:
		if r.at == len(b) {
			r.Release() // it may be a long wait
		}
		return false
	case again:
		r.err = ErrNotBuffered
	case err != nil:
		r.err = &net.OpError{Op: "read", Net: "socket", Err: err}
	case n == 0:
		r.err = io.EOF
	default:
		r.took(n)
	}
	return true
}

// room makes room for at least one byte more, and for those that are needed as
// far as that many can be expected.
func (r *Reader) room() {
	held := len(r.Bytes())
	size := max(r.want, min(r.need, max(midBlock, 2*held)), held+1)
	if r.block == nil {
		r.block, r.at = obtain(size), 0
		return
	}
	c := cap(r.block.b)
	switch free := c - len(r.block.b); {
	case c < size, held == 0 && c > 4*size && c > midBlock:
		k := obtain(size)
		k.b = append(k.b, r.Bytes()...)
		release(r.block)
		r.block = k
	case held == 0:
		r.block.b = r.block.b[:0]
	case free < c/4 || c-r.at < size && r.need > held:
		r.block.b = r.block.b[:copy(r.block.b, r.Bytes())]
	default:
		return
	}
	r.at = 0
}

// took learns from what has come at once how large the next buffer has to be.
func (r *Reader) took(n int) {
	b := r.block.b
	free, patience := cap(b)-len(b), slackReads
	if r.raw == nil {
		patience = 1 // it holds the buffer while it waits
	}
	r.block.b = b[:len(b)+n]
	switch {
	case r.need > r.want && len(r.Bytes()) >= r.need:
		r.want, r.slack = min(r.need, maxBlock), 0
	case n == free && r.want < maxWant:
		r.want, r.slack = 2*r.want, 0
	case n < r.want/4 && r.need < r.want/4 && r.want > minBlock:
		if r.slack++; r.slack >= patience {
			r.want, r.slack = r.want/2, 0
		}
	default:
		r.slack = 0
	}
}
