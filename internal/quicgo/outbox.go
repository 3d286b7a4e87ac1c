package quicgo

import (
	"slices"
	"sync"
)

// maxWaiting is how many datagrams wait. The oldest make room for newer ones.
const maxWaiting = 128

// An Outbox holds the datagrams of a connection that wait for quic-go to take
// them: it lets senders wait while 32 are queued, and senders may be callbacks. A
// goroutine hands them over while there are some. The zero value is empty.
type Outbox struct {
	mu      sync.Mutex // guards the rest
	waiting [][]byte
	running bool
}

// Put queues a copy of p, which send gets, and does not wait: while more than 128
// are not sent, the oldest are lost. send may wait, but not longer than the
// connection lives, and is called for one datagram at a time; give the same one in
// all calls. What it fails to send is lost. Put may be called from any goroutine.
func (o *Outbox) Put(p []byte, send func([]byte) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == maxWaiting {
		o.waiting = slices.Delete(o.waiting, 0, 1)
	}
	o.waiting = append(o.waiting, slices.Clone(p))
	if !o.running {
		o.running = true
		go o.run(send)
	}
}

// run hands over what waits.
func (o *Outbox) run(send func([]byte) error) {
	for {
		o.mu.Lock()
		if len(o.waiting) == 0 {
			o.running, o.waiting = false, nil
			o.mu.Unlock()
			return
		}
		p := o.waiting[0]
		o.waiting = o.waiting[1:]
		o.mu.Unlock()
		_ = send(p) // what does not fit any more is lost, as is what comes after the end
	}
}
