package kcp

import (
	"os"
	"sync"
	"time"
)

// maxInbox is how much waits for the reader of a link, so that signs of life
// and the end are seen behind it.
const maxInbox = 64 << 10

// An inbox holds what has come for the reader of a link.
type inbox struct {
	mu       sync.Mutex // guards what follows
	changed  *sync.Cond
	data     []byte
	err      error // after data
	closed   bool  // nobody reads any more
	deadline time.Time
	timer    *time.Timer
}

func newInbox() *inbox {
	b := &inbox{}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// put waits for room and takes a copy of p.
func (b *inbox) put(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.data) >= maxInbox && !b.closed && b.err == nil {
		b.changed.Wait()
	}
	if !b.closed && b.err == nil {
		b.data = append(b.data, p...)
		b.changed.Broadcast()
	}
}

// finish lets readers have err after what is there. The first one counts.
func (b *inbox) finish(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.changed.Broadcast()
}

// close drops everything; readers have err.
func (b *inbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
	b.closed, b.data, b.err = true, nil, err
	b.changed.Broadcast()
}

// read waits for data, the end, or the deadline.
func (b *inbox) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case !b.deadline.IsZero() && !time.Now().Before(b.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0 && b.err == nil:
			return 0, nil
		case len(b.data) > 0:
			n := copy(p, b.data)
			if b.data = b.data[n:]; len(b.data) == 0 {
				b.data = nil // an idle one holds no memory
			}
			b.changed.Broadcast()
			return n, nil
		case b.err != nil:
			return 0, b.err
		}
		b.changed.Wait()
	}
}

// setDeadline bounds pending and later reads.
func (b *inbox) setDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline = t
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if !t.IsZero() && !b.closed {
		b.timer = time.AfterFunc(time.Until(t), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changed.Broadcast()
		})
	}
}
