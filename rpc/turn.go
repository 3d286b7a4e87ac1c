package rpc

import (
	"sync"
)

// A turnQueue holds calls of Go that have ended, until the behaviour's turn has
// come to tell their callers. A goroutine waits for the turn while there are
// some.
type turnQueue struct {
	mu      sync.Mutex // guards what follows; never held while calling out
	host    *host
	ended   []*call
	waiting bool // a goroutine waits for the turn
}

func (q *turnQueue) start(h *host) {
	q.mu.Lock()
	q.host = h
	q.mu.Unlock()
}

// push adds a call that has ended. It neither waits nor calls out.
func (q *turnQueue) push(k *call) {
	if k.expiry != nil {
		k.expiry.Stop()
	}
	q.mu.Lock()
	q.ended = append(q.ended, k)
	q.wait()
	q.mu.Unlock()
}

// wait has a goroutine run the queue on the behaviour's turn. The caller holds
// mu.
func (q *turnQueue) wait() {
	if q.waiting {
		return
	}
	q.waiting = true
	h := q.host
	h.env.Go(func() {
		err := h.Do(h.Context(), q.run)
		q.mu.Lock()
		q.waiting = false
		if len(q.ended) > 0 && err == nil { // else it stops, and PartStop runs the queue
			q.wait()
		}
		q.mu.Unlock()
	})
}

// run tells the callers of the calls in the queue. It runs on the behaviour's
// turn.
func (q *turnQueue) run() {
	for {
		q.mu.Lock()
		if len(q.ended) == 0 {
			q.mu.Unlock()
			return
		}
		k := q.ended[0]
		q.ended[0] = nil
		q.ended = q.ended[1:]
		q.mu.Unlock()
		k.finish(k)
	}
}
