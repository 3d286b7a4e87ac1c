package rpc

import (
	"slices"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// workerIdle is how long goroutines that no call needs wait for one, at least;
// at most twice as long.
const workerIdle = 5 * time.Second

// A crew is the goroutines that serve calls between a start and the stop after
// it. Those without a call wait in a stack, so that a few of them do all the work
// where a few suffice, and the others end.
//
//	hire --> serve --> rest --> hire ...
//	                     \---> end, when unneeded for a while or at the stop
//
// Server.mu guards it.
type crew struct {
	env   env.Env
	idle  []*worker // the one that has waited longest comes first
	least int       // how few were idle since reaper was set
	timer env.Timer // sees to those that nobody needs; nil while none is idle
	gone  bool      // the server has stopped
}

// A worker is a goroutine that serves calls. Whoever takes it off the stack
// writes next and wakes it.
type worker struct {
	next *serving      // nil: end
	wake chan struct{} // has a token when next is set; cap 1
	runs bool          // it has been started
}

// hire takes a worker off the stack, or makes one. The caller holds Server.mu.
func (c *crew) hire() *worker {
	n := len(c.idle) - 1
	if n < 0 {
		return &worker{wake: make(chan struct{}, 1)}
	}
	w := c.idle[n]
	c.idle[n] = nil
	c.idle = c.idle[:n]
	c.least = min(c.least, n)
	return w
}

// give lets a worker that was hired serve a call.
func (s *Server) give(c *crew, w *worker, v *serving) {
	w.next = v
	if w.runs {
		w.wake <- struct{}{}
		return
	}
	w.runs = true
	c.env.Go(func() { s.work(c, w) })
}

// work serves a call, and then others, until the worker is let go.
func (s *Server) work(c *crew, w *worker) {
	for w.next != nil {
		v := w.next
		w.next = nil
		s.run(v)
		if !s.rest(c, w) {
			return
		}
		c.env.Wait(w.wake, nil, nil)
	}
}

// rest puts a worker on the stack. false: the server has stopped.
func (s *Server) rest(c *crew, w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.gone {
		return false
	}
	c.idle = append(c.idle, w)
	if c.timer == nil {
		s.watch(c)
	}
	return true
}

// watch sets the timer that ends the workers which nobody needs until then. The
// caller holds mu.
func (s *Server) watch(c *crew) {
	c.least = len(c.idle)
	c.timer = c.env.AfterFunc(workerIdle, func() { s.thin(c) })
}

// thin ends the workers that were idle ever since the timer was set.
func (s *Server) thin(c *crew) {
	s.mu.Lock()
	var unneeded []*worker
	if !c.gone {
		unneeded = slices.Clone(c.idle[:c.least])
		c.idle = slices.Delete(c.idle, 0, c.least)
		if c.timer = nil; len(c.idle) > 0 {
			s.watch(c)
		}
	}
	s.mu.Unlock()
	dismiss(unneeded)
}

// disband returns the idle workers, for dismiss. The others end when they have
// served their calls. The caller holds Server.mu.
func (c *crew) disband() []*worker {
	c.gone = true
	if c.timer != nil {
		c.timer.Stop()
	}
	idle := c.idle
	c.idle = nil
	return idle
}

// dismiss ends workers that were taken off the stack.
func dismiss(workers []*worker) {
	for _, w := range workers {
		w.wake <- struct{}{}
	}
}
