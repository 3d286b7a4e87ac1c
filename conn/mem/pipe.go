package mem

import (
	"os"
	"sync"
	"time"
)

// shrinkAbove is the size of buffer that a pipe does not keep while empty.
const shrinkAbove = 4 << 10

// A pipe carries the bytes of one direction. One goroutine writes and one
// reads; waiting is on channels, never under the mutex.
type pipe struct {
	limit    int
	readable chan struct{} // one token: look again
	writable chan struct{}

	mu      sync.Mutex // guards what follows
	buf     []byte     // buf[off:] waits to be read
	off     int
	stalled bool
}

func newPipe(limit int) *pipe {
	return &pipe{limit: limit, readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
}

// wake leaves a token in ch.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// put takes as much of b as there is room for.
func (p *pipe) put(b []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(b), p.limit-(len(p.buf)-p.off))
	if n <= 0 {
		return 0
	}
	if p.off > 0 && len(p.buf)+n > cap(p.buf) {
		p.buf = p.buf[:copy(p.buf, p.buf[p.off:])]
		p.off = 0
	}
	p.buf = append(p.buf, b[:n]...)
	if !p.stalled {
		wake(p.readable)
	}
	return n
}

// take moves what has arrived to b.
func (p *pipe) take(b []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled || p.off == len(p.buf) {
		return 0
	}
	n := copy(b, p.buf[p.off:])
	p.off += n
	if p.off == len(p.buf) {
		p.off, p.buf = 0, p.buf[:0]
		if cap(p.buf) > shrinkAbove {
			p.buf = nil
		}
	}
	wake(p.writable)
	return n
}

// stall starts and stops the flow to the reader.
func (p *pipe) stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = on
	if !on {
		wake(p.readable)
	}
}

// A deadline tells one waiting goroutine when a time is over. The zero value
// is none.
type deadline struct {
	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	setting int // counts calls of set
	expired bool
	changed chan struct{} // made by wait, closed when expired or set anew
}

// set replaces the time.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.expired = false
	d.setting++
	if !t.IsZero() {
		if left := time.Until(t); left <= 0 {
			d.expired = true
		} else {
			setting := d.setting
			d.timer = time.AfterFunc(left, func() { d.expire(setting) })
		}
	}
	d.notify()
}

// expire is the timer's; that of an earlier setting does nothing.
func (d *deadline) expire(setting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.setting == setting {
		d.expired = true
		d.notify()
	}
}

func (d *deadline) notify() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// wait returns a channel that closes when it is time to call wait again, or
// the error if the time is over.
func (d *deadline) wait() (<-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired {
		return nil, os.ErrDeadlineExceeded
	}
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed, nil
}
