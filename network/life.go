package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
)

// do runs f, the callback of that name, on the behaviour's turn and waits for
// it, until ctx ends.
func (s *service) do(ctx context.Context, name *string, f func()) error {
	done := make(chan struct{})
	err := agent.ErrStopped // unless f returns
	ok := s.put(item{op: opFunc, ev: func() {
		s.caller = done
		if !s.gone.Load() {
			s.running.Store(name)
			f()
			err = nil
		}
	}})
	if !ok {
		return agent.ErrStopped
	}
	if s.n.env.Wait(done, ctx.Done(), nil) == 1 {
		return context.Cause(ctx)
	}
	return err
}

// answer tells the caller of do that the callback has returned, or that its
// panic has been dealt with.
func (s *service) answer() {
	if s.caller != nil {
		close(s.caller)
		s.caller = nil
	}
}

// begin calls OnStart on the behaviour's turn. The caller holds n.setup.
func (s *service) begin(ctx context.Context) error {
	s.asked = true
	var err error
	if derr := s.do(ctx, &nameStart, func() {
		for _, w := range s.watch {
			w.PartStart(s.agent)
		}
		if s.hooks.start != nil {
			err = s.hooks.start.OnStart(s.agent)
		}
		s.begun = err == nil
	}); derr != nil {
		if cause := context.Cause(s.ctx); cause != nil {
			derr = cause // a *PanicError
		}
		return fmt.Errorf("network: service %d (%s): OnStart: %w", s.id, s.info.Name, derr)
	}
	if err != nil {
		return fmt.Errorf("network: service %d (%s): OnStart: %w", s.id, s.info.Name, err)
	}
	return nil
}

// farewell calls OnStop on the behaviour's turn, if OnStart has returned.
func (s *service) farewell(ctx context.Context) {
	err := s.do(ctx, &nameStop, func() {
		if !s.begun {
			return
		}
		if s.hooks.stop != nil {
			s.hooks.stop.OnStop(s.agent)
		}
		for _, w := range s.watch {
			w.PartStop(s.agent)
		}
	})
	if err != nil && !errors.Is(err, agent.ErrStopped) {
		s.log.Warn("behaviour did not stop in time", "err", err)
	}
}

// end lets the mailbox run empty, then closes it for good.
func (s *service) end(ctx context.Context) {
	s.timers.close()
	s.stopTick()
	_ = s.do(ctx, &nameDo, func() {}) // what was queued before has been dealt with
	s.gone.Store(true)
	s.box.close()
	s.stop(agent.ErrStopped)
}

// stopTick ends the ticks.
func (s *service) stopTick() {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.still = true
	if s.ticker != nil {
		s.ticker.Stop()
	}
}

// tick queues OnTick of the behaviour and of its handlers, and starts the
// timer anew.
func (s *service) tick() {
	if s.gone.Load() || s.ctx.Err() != nil {
		return
	}
	if s.hooks.tick != nil && s.ticked.CompareAndSwap(false, true) {
		s.put(item{op: opTick})
	}
	for _, sl := range s.ticking.all() {
		sl.tick()
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if !s.still {
		s.ticker = s.n.env.AfterFunc(s.info.Tick, s.tick)
	}
}

// panicked stops a behaviour that has panicked. Any goroutine.
func (s *service) panicked(callback string, v any, stack []byte) {
	n := s.n
	n.count.panics.Add(1)
	s.log.Error("behaviour panicked", "panic", v, "callback", callback, "stack", string(stack))
	if s.gone.Swap(true) {
		return
	}
	cause := &PanicError{Service: s.id, Value: v, Stack: slices.Clone(stack)}
	s.stop(cause)
	if n.cfg.StopOnPanic {
		n.cancel(cause)
		return
	}
	n.running.add(1)
	n.env.Go(func() {
		defer n.running.done()
		n.bury(s)
	})
}

// bury takes a behaviour that has panicked off the node, and registers another
// in its place after a while if there is a factory.
func (n *Node) bury(s *service) {
	n.setup.Acquire(n.env)
	n.withdraw(s)
	n.setup.Release()
	s.timers.close()
	s.stopTick()
	s.box.close()
	if s.fresh == nil {
		return
	}
	wait := min(n.cfg.Limits.RestartBackoff<<min(s.falls, 6), time.Minute)
	if !n.pause(n.ctx, wait) {
		return
	}
	if err := n.register(s.id, s.fresh(), s.fresh, s.falls+1); err != nil {
		if bad := (*PanicError)(nil); !errors.As(err, &bad) { // else the panic has been logged, and is followed by a restart of its own
			s.log.Error("behaviour was not restarted", "err", err)
		}
		return
	}
	n.count.restarts.Add(1)
}
