package webtransport

import (
	"sync"
	"time"
)

// A deadline is a time after which a channel is closed. It can be moved while
// somebody waits.
type deadline struct {
	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	expired chan struct{}
}

func newDeadline() *deadline { return &deadline{expired: make(chan struct{})} }

// wait returns what is closed when the time has come.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

// passed reports whether the time has come.
func (d *deadline) passed() bool {
	select {
	case <-d.wait():
		return true
	default:
		return false
	}
}

// set moves the deadline; zero: there is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.expired // its function runs, or has run
	}
	d.timer = nil
	past := false
	select {
	case <-d.expired:
		past = true
	default:
	}
	after := time.Until(t)
	switch {
	case t.IsZero() || after > 0:
		if past {
			d.expired = make(chan struct{})
		}
		if !t.IsZero() {
			expired := d.expired
			d.timer = time.AfterFunc(after, func() { close(expired) })
		}
	case !past:
		close(d.expired)
	}
}
