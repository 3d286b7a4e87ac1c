package secure

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/plexus-net/plexus/internal/fd"
)

const (
	recordSize    = 16 << 10            // plaintext of a TLS record
	recordMost    = recordSize + 5 + 17 // with header, type and tag
	joinRecords   = 8                   // records written in one system call
	readBuffer    = 64 << 10
	closePatience = 20 * time.Millisecond // for the last record into a full socket
)

var (
	readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}
	joinBuffers = sync.Pool{New: func() any { return new([joinRecords * recordMost]byte) }}
)

// A wire is the net.Conn beneath crypto/tls. It joins the records that are
// written between join and flush, and reads more than crypto/tls asks for. It
// holds buffers only while there is something in them.
type wire struct {
	net.Conn

	// Of the one goroutine that reads.
	raw      syscall.RawConn // nil: read plainly
	fill     func(fd uintptr) bool
	in       *[readBuffer]byte // in[pos:end] has been read; nil: nothing
	pos, end int
	err      error // of fill

	closing atomic.Bool

	mu      sync.Mutex // guards what follows; held while writing to Conn
	joining bool
	out     *[joinRecords * recordMost]byte // out[:n] waits for flush
	n       int
	failed  error // the first error of writing: the stream is torn from there on
}

func newWire(nc net.Conn) *wire {
	w := &wire{Conn: nc}
	if fd.Works {
		if sc, ok := nc.(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				w.raw, w.fill = raw, w.fillFrom
			}
		}
	}
	return w
}

// Read takes the bytes at hand, or waits without a buffer until there are some
// and takes all of them.
func (w *wire) Read(p []byte) (int, error) {
	if w.in == nil {
		if w.raw == nil || len(p) == 0 {
			n, err := w.Conn.Read(p)
			return n, torn(err)
		}
		if err := w.raw.Read(w.fill); err != nil {
			w.release()
			return 0, err
		}
		if err := w.err; err != nil {
			w.release()
			return 0, err
		}
	}
	n := copy(p, w.in[w.pos:w.end])
	if w.pos += n; w.pos == w.end {
		w.release()
	}
	return n, nil
}

// errTorn is the end of a socket. crypto/tls reads none after the other side
// has said that it closes, and takes io.EOF for the same as that.
var errTorn = fmt.Errorf("secure: the other end is gone without a word: %w", io.ErrUnexpectedEOF)

func torn(err error) error {
	if err == io.EOF {
		return errTorn
	}
	return err
}

// fillFrom reads from a socket that is ready; false: it was not.
func (w *wire) fillFrom(socket uintptr) bool {
	w.in = readBuffers.Get().(*[readBuffer]byte)
	n, again, err := fd.Read(socket, w.in[:])
	if again {
		w.release()
		return false
	}
	if n <= 0 && err == nil {
		err = errTorn
	}
	w.pos, w.end, w.err = 0, max(n, 0), err
	return true
}

func (w *wire) release() {
	if w.in != nil {
		readBuffers.Put(w.in)
		w.in = nil
	}
	w.pos, w.end, w.err = 0, 0, nil
}

// join makes Write collect until flush.
func (w *wire) join() {
	w.mu.Lock()
	w.joining = true
	w.mu.Unlock()
}

// flush writes what was collected since join.
func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.joining = false
	return w.writeOut()
}

// Write writes one record, or several of crypto/tls's handshake.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return 0, w.failed
	}
	if w.joining && len(p) <= recordMost {
		if w.out == nil {
			w.out = joinBuffers.Get().(*[joinRecords * recordMost]byte)
		}
		w.n += copy(w.out[w.n:], p)
		if w.n+recordMost <= len(w.out) {
			return len(p), nil
		}
		if err := w.writeOut(); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if err := w.writeOut(); err != nil {
		return 0, err
	}
	n, err := w.Conn.Write(p)
	w.fail(err)
	return n, err
}

// writeOut writes and releases the collected records. Callers hold mu.
func (w *wire) writeOut() error {
	if w.out == nil {
		return w.failed
	}
	if w.failed == nil {
		_, err := w.Conn.Write(w.out[:w.n])
		w.fail(err)
	}
	joinBuffers.Put(w.out)
	w.out, w.n = nil, 0
	return w.failed
}

// fail keeps the first error of writing. Callers hold mu.
func (w *wire) fail(err error) {
	if err == nil || w.failed != nil {
		return
	}
	w.failed = err
	if w.closing.Load() {
		// The peer does not read: let the kernel give up what it holds for it.
		if l, ok := w.Conn.(interface{ SetLinger(sec int) error }); ok {
			_ = l.SetLinger(0) // only a courtesy
		}
	}
}

// SetWriteDeadline keeps the short deadline of hurry from being put off by
// crypto/tls, which allows its last record 5 s.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.closing.Load() {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}

// hurry gives pending and later writes little time.
func (w *wire) hurry() {
	w.closing.Store(true)
	if err := w.Conn.SetWriteDeadline(time.Now().Add(closePatience)); err != nil && !errors.Is(err, net.ErrClosed) {
		w.Conn.Close() // without a deadline it could block
	}
}
