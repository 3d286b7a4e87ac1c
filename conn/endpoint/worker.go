package endpoint

import (
	"context"
	"sync"

	"github.com/plexus-net/plexus/internal/env"
)

// A Worker writes to the connections of the endpoints that were given to it
// ([Endpoint.SetWorker]), one after the other on one goroutine, which runs while
// there is something to write. Without one, every endpoint writes on a goroutine
// of its own, and that is nearly always better: Go spreads them over the cores.
// A Worker bounds how many endpoints write at the same time. An endpoint whose
// connection blocks holds up the others of its worker.
type Worker struct {
	env env.Env

	mu      sync.Mutex // guards what follows
	queue   []func()
	running bool
}

// NewWorker returns a worker.
func NewWorker(ctx context.Context) *Worker { return &Worker{env: env.Of(ctx)} }

// run has f run.
func (w *Worker) run(f func()) {
	w.mu.Lock()
	w.queue = append(w.queue, f)
	start := !w.running
	w.running = true
	w.mu.Unlock()
	if start {
		w.env.Go(w.loop)
	}
}

func (w *Worker) loop() {
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.running, w.queue = false, nil
			w.mu.Unlock()
			return
		}
		f := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.mu.Unlock()
		f()
	}
}

// SetWorker moves the endpoint to a worker, at any time and without loss; nil:
// to goroutines of its own. A write that is under way ends where it began.
func (e *Endpoint) SetWorker(w *Worker) {
	if w == nil {
		e.ch.SpawnWith(nil)
		return
	}
	e.ch.SpawnWith(w.run)
}
