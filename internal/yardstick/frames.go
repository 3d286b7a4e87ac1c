// Package yardstick is what benchmarks measure connections by: the same bytes,
// moved by hand over the bare thing, in the same run and by turns. Only tests
// import it.
package yardstick

import (
	"encoding/binary"
	"io"
	"runtime"
	"sync"
)

// bufBytes is how much waits for a flusher, and how much is read at a time.
const bufBytes = 256 << 10

// A Writer is how one sends small messages by hand: frames are appended to a buffer
// that a goroutine swaps for another and writes, whenever it is idle. It is parked
// while there are none.
type Writer struct {
	w      io.Writer
	header int
	yield  bool
	lone   []byte // of SendNow

	mu         sync.Mutex // guards what follows
	more, less sync.Cond  // wake the flusher, and senders that wait for room
	buf, spare []byte
	closed     bool
}

// NewWriter returns a Writer of frames with headers of so many bytes, none or 4 and
// more: the first four tell the length of the rest. If it yields, the flusher lets
// others run once before it takes what there is: batches are larger. Close ends it.
func NewWriter(w io.Writer, header int, yield bool) *Writer {
	y := &Writer{w: w, header: header, yield: yield}
	y.more.L, y.less.L = &y.mu, &y.mu
	go y.flush()
	return y
}

// Send appends a frame and waits while there is no room for it.
func (y *Writer) Send(p []byte) {
	y.mu.Lock()
	for len(y.buf) > bufBytes {
		y.less.Wait()
	}
	y.buf = y.frame(y.buf, p)
	y.more.Signal()
	y.mu.Unlock()
}

// SendNow writes a frame by itself, at once. One goroutine may use it, beside none
// that uses Send.
func (y *Writer) SendNow(p []byte) {
	y.lone = y.frame(y.lone[:0], p)
	_, _ = y.w.Write(y.lone) // the reader learns of an error
}

func (y *Writer) frame(b, p []byte) []byte {
	if y.header > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		for range y.header - 4 {
			b = append(b, 0)
		}
	}
	return append(b, p...)
}

func (y *Writer) flush() {
	for {
		y.mu.Lock()
		for len(y.buf) == 0 && !y.closed {
			y.more.Wait()
		}
		if len(y.buf) == 0 {
			y.mu.Unlock()
			return
		}
		if y.yield {
			y.mu.Unlock()
			runtime.Gosched()
			y.mu.Lock()
		}
		out := y.buf
		y.buf = y.spare[:0]
		y.less.Broadcast()
		y.mu.Unlock()
		if _, err := y.w.Write(out); err != nil {
			return
		}
		y.spare = out
	}
}

// Close lets the flusher end, after what it has.
func (y *Writer) Close() {
	y.mu.Lock()
	y.closed = true
	y.more.Signal()
	y.mu.Unlock()
}

// Read calls f with each message, in place, until f has had enough or reading
// fails, and returns why it failed. The header is as in NewWriter, and buf holds at
// least twice the largest frame; nil is a buffer for up to 128 KiB.
func Read(r io.Reader, header int, buf []byte, f func(p []byte) (more bool)) error {
	if buf == nil {
		buf = make([]byte, bufBytes)
	}
	from, to := 0, 0
	for {
		for to-from >= header {
			n := header + int(binary.BigEndian.Uint32(buf[from:]))
			if to-from < n {
				break
			}
			p := buf[from+header : from+n]
			from += n
			if !f(p) {
				return nil
			}
		}
		if from == to {
			from, to = 0, 0
		} else if len(buf)-to < len(buf)/4 {
			to = copy(buf, buf[from:to])
			from = 0
		}
		n, err := r.Read(buf[to:])
		if err != nil {
			return err
		}
		to += n
	}
}
