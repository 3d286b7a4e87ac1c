// Package deadline has the deadlines of connections that are not sockets: of
// those whose reads and writes wait for a goroutine, or for a browser.
//
//	type stream struct {
//		deadline.Pair // SetDeadline, SetReadDeadline, SetWriteDeadline
//		...
//	}
//
//	select {
//	case chunk := <-s.chunks:
//	case <-s.Reads.Wait():
//		return 0, os.ErrDeadlineExceeded
//	}
package deadline

import (
	"sync"
	"time"
)

// A Deadline is a time after which a channel is closed. It can be moved while
// somebody waits, and after it has passed. The zero value has none. Methods may
// be called from any goroutine.
type Deadline struct {
	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	expired chan struct{} // nil: nobody has asked
}

// Wait returns what is closed when the time has come. Of a deadline that has
// passed and was then moved, only a channel asked for again tells.
func (d *Deadline) Wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

// channel returns expired. Callers hold mu.
func (d *Deadline) channel() chan struct{} {
	if d.expired == nil {
		d.expired = make(chan struct{})
	}
	return d.expired
}

// Passed reports whether the time has come.
func (d *Deadline) Passed() bool {
	select {
	case <-d.Wait():
		return true
	default:
		return false
	}
}

// Set moves the deadline; zero: there is none.
func (d *Deadline) Set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	expired := d.channel()
	if d.timer != nil && !d.timer.Stop() {
		<-expired // its function runs, or has run
	}
	d.timer = nil
	past := false
	select {
	case <-expired:
		past = true
	default:
	}
	after := time.Until(t)
	switch {
	case t.IsZero() || after > 0:
		if past {
			expired = make(chan struct{})
			d.expired = expired
		}
		if !t.IsZero() {
			d.timer = time.AfterFunc(after, func() { close(expired) })
		}
	case !past:
		close(expired)
	}
}

// A Pair has both deadlines of a [net.Conn], and its methods that set them. The
// zero value has none.
type Pair struct{ Reads, Writes Deadline }

// SetDeadline sets both deadlines.
func (p *Pair) SetDeadline(t time.Time) error {
	p.Reads.Set(t)
	p.Writes.Set(t)
	return nil
}

// SetReadDeadline bounds reads; reading may go on after a missed one.
func (p *Pair) SetReadDeadline(t time.Time) error {
	p.Reads.Set(t)
	return nil
}

// SetWriteDeadline bounds writes.
func (p *Pair) SetWriteDeadline(t time.Time) error {
	p.Writes.Set(t)
	return nil
}
