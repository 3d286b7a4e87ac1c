package bench

import (
	"encoding/binary"
	"io"
	"runtime"
	"sync"
	"testing"
)

// A yard is one end of the yardstick: frames of a nine-byte header and a
// payload, appended to a buffer that a flusher swaps and writes.
type yard struct {
	w  io.Writer
	r  io.Reader
	mu sync.Mutex
	// more wakes the flusher, less the senders that wait for room.
	more, less sync.Cond
	buf, spare []byte
	lone       []byte // of sendNow
	closed     bool
	yield      bool
}

const yardLimit = 256 << 10

func newYard(w io.Writer, r io.Reader, yield bool) *yard {
	y := &yard{w: w, r: r, yield: yield}
	y.more.L, y.less.L = &y.mu, &y.mu
	go y.flush()
	return y
}

func (y *yard) send(payload []byte) {
	y.mu.Lock()
	for len(y.buf) > yardLimit {
		y.less.Wait()
	}
	y.buf = appendFrame(y.buf, payload)
	y.more.Signal()
	y.mu.Unlock()
}

// sendNow writes a frame by itself, at once. One goroutine may use it.
func (y *yard) sendNow(payload []byte) {
	y.lone = appendFrame(y.lone[:0], payload)
	_, _ = y.w.Write(y.lone) // the reader learns of an error
}

func appendFrame(b, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, 1, 0, 0, 0, 0)
	return append(b, payload...)
}

func (y *yard) flush() {
	for {
		y.mu.Lock()
		for len(y.buf) == 0 && !y.closed {
			y.more.Wait()
		}
		if y.closed {
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

func (y *yard) close() {
	y.mu.Lock()
	y.closed = true
	y.more.Signal()
	y.mu.Unlock()
}

// receive calls f with each payload until the stream ends.
func (y *yard) receive(f func([]byte)) { y.receiveInto(make([]byte, yardLimit), f) }

// receiveInto is receive with a buffer, of at least twice the largest frame.
func (y *yard) receiveInto(buf []byte, f func([]byte)) {
	r, w := 0, 0
	for {
		for w-r >= 9 {
			n := int(binary.BigEndian.Uint32(buf[r:]))
			if w-r < 9+n {
				break
			}
			f(buf[r+9 : r+9+n])
			r += 9 + n
		}
		if r == w {
			r, w = 0, 0
		} else if len(buf)-w < len(buf)/4 {
			w = copy(buf, buf[r:w])
			r = 0
		}
		n, err := y.r.Read(buf[w:])
		if err != nil {
			return
		}
		w += n
	}
}

// yards returns the two ends of the yardstick over a transport.
func yards(b testing.TB, transport string, yield bool) (client, server *yard) {
	b.Helper()
	servers, ended := make(chan *yard), make(chan struct{})
	h := newHub(b, transport, func(s io.ReadWriter) {
		servers <- newYard(s, s, yield)
		<-ended
	})
	b.Cleanup(func() { close(ended) })
	s, end := h.spoke(b).open(b)
	b.Cleanup(end)
	client, server = newYard(s, s, yield), <-servers
	b.Cleanup(client.close)
	b.Cleanup(server.close)
	return client, server
}
