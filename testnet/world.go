package testnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/sim"
	"github.com/plexus-net/plexus/network"
)

// A world is where the nodes of a Sim run. There are two: simulated, and live.
// Its methods are for the scenario's functions, which run one at a time.
type world interface {
	Now() time.Duration
	// Sleep and do let the scenario's other functions run meanwhile. Sleep
	// fails where no more time passes.
	Sleep(d time.Duration) error
	do(f func() error) error
	At(d time.Duration, f func())
	Go(f func())
	Close()

	// What has happened so far: see Sim.
	Events() uint64
	Hash() uint64
	Cause() uint64

	place(n *Node)       // makes room for a node
	start(n *Node) error // makes and runs the inside of a node
	stop(n *Node) error  // in good order, and waits until it has
	crash(n *Node)
	revive(n *Node) error // a node that has crashed or stopped can be started
	up(n *Node) bool      // it has not crashed
	block(from, to *Node)
	unblock(from, to *Node)
	cut(a, b *Node)
}

// simulated is a world on virtual time.
type simulated struct {
	*sim.World
	s *Sim
}

func newSimulated(s *Sim) *simulated {
	w := &simulated{s: s}
	w.World = sim.New(s.Seed, s.scenario.For+overtime, w.path)
	w.Observe(s.event)
	return w
}

// path is the way from one host to another, as the scenario says.
func (w *simulated) path(from, to *sim.Host) *sim.Path {
	l := w.s.scenario.Link
	if w.s.scenario.Links != nil {
		l = w.s.scenario.Links(from.Index, to.Index)
	}
	return &sim.Path{Latency: l.draw, Loss: l.Loss, Duplicate: l.Duplicate, Reorder: l.Reorder, Rate: l.Rate, Queue: l.Queue}
}

func (w *simulated) do(f func() error) error {
	var err error
	if !w.Do(func() { err = f() }) {
		return ErrCrashed
	}
	return err
}

func (w *simulated) place(n *Node) { n.sim, n.host = w.s, w.NewHost() }

func (w *simulated) start(n *Node) error {
	sc := &w.s.scenario
	log := sc.Log
	if log != nil {
		log = slog.New(&clockHandler{log.Handler(), n.host})
	}
	n.Table = sc.Router(n.Key.ID())
	inner, err := network.New(network.Config{Key: n.Key, Router: n.Table, Limits: sc.Limits, Durable: sc.Durable, Log: log,
		Transports: []conn.Transport{n.host.Transport()}})
	if err != nil {
		return err
	}
	n.Node = inner
	if sc.Register != nil {
		if err := sc.Register(n); err != nil {
			return fmt.Errorf("testnet: node %d: %w", n.Index, err)
		}
	}
	if n.addr, err = inner.Listen(context.Background(), sim.Scheme+"://"+n.host.Name); err != nil {
		return fmt.Errorf("testnet: node %d: %w", n.Index, err)
	}
	n.host.Go(func() {
		if err := inner.Run(context.Background()); err != nil && !errors.Is(err, errStopped) {
			w.s.fail("nodes run", fmt.Errorf("node %d has stopped: %w", n.Index, err))
		}
	})
	return nil
}

func (w *simulated) stop(n *Node) error { return n.Close(context.Background()) }

func (w *simulated) crash(n *Node) {
	n.host.Crash()
	n.Disk.crash(w.Rand)
}

func (w *simulated) revive(n *Node) error {
	n.host.Restart()
	return nil
}

func (w *simulated) up(n *Node) bool        { return n.host.Up() }
func (w *simulated) block(from, to *Node)   { w.Block(from.host, to.host) }
func (w *simulated) unblock(from, to *Node) { w.Unblock(from.host, to.host) }
func (w *simulated) cut(a, b *Node)         { w.Cut(a.host, b.host) }

// clockHandler gives log records the time of a host.
type clockHandler struct {
	slog.Handler
	host *sim.Host
}

func (h *clockHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Time = h.host.Now()
	return h.Handler.Handle(ctx, r)
}

func (h *clockHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &clockHandler{h.Handler.WithAttrs(attrs), h.host}
}

func (h *clockHandler) WithGroup(name string) slog.Handler {
	return &clockHandler{h.Handler.WithGroup(name), h.host}
}
