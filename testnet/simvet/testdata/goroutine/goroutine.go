// Package goroutine starts goroutines.
package goroutine

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

type H struct {
	group sync.WaitGroup
	todo  chan func()
	n     int
}

func (h *H) OnMessage(a *agent.Handler, m *conn.Message) {
	go h.run()                    // want `^go statement starts a goroutine beside the simulator's loop: use After and Tell of the agent, and go on in OnEvent$`
	go func() { time.Sleep(1) }() // want `go statement`
	go wait(time.Now())           // want `go statement` `time.Now`
	h.group.Go(func() {           // want `sync.WaitGroup.Go starts a goroutine`
		time.Sleep(1)
	})
	g, _ := errgroup.WithContext(a.Context())
	g.Go(func() error { return nil })            // want `errgroup.Group.Go starts a goroutine`
	context.AfterFunc(a.Context(), h.group.Wait) // want `context.AfterFunc starts a goroutine`
}

// run is for the goroutine alone.
func (h *H) run() {
	for f := range h.todo {
		f()
		h.step()
		h.both()
	}
}

func (h *H) step() { time.Sleep(1) }

// both is for the goroutine and for a callback.
func (h *H) both() { time.Sleep(1) } // want `time.Sleep .* \(called from H.OnTick\)`

func (h *H) OnTick(a *agent.Handler, now time.Time) { h.both() }

func wait(time.Time) { time.Sleep(1) }
