package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/race"
)

// ErrNotMember is beneath the errors of what is asked about a node that was not
// added, or is not a member any more.
var ErrNotMember = errors.New("hub: not a member; Add makes it one")

var errClosed = fmt.Errorf("hub: %w", conn.ErrClosed)

// A Hub keeps a node connected to its members. Make one with [New]. Methods may be
// called from any goroutine, but for Recv, which one at a time may call.
type Hub struct {
	cfg    Config
	self   identity.NodeID
	local  conn.Local
	env    env.Env
	ctx    context.Context // ends when the hub does
	cancel context.CancelCauseFunc
	known  *race.Memory[identity.NodeID, identity.Address]

	members atomic.Pointer[table]
	in      inbound
	adding  env.Lock      // held by Add, and taken before mu
	started chan struct{} // closed by Start
	stopped chan struct{} // closed at the end of Close
	closed  error         // what Close has returned; to be read after stopped is closed
	running group         // goroutines
	closing atomic.Bool   // as state says

	mu        sync.Mutex // guards what follows, and replacing members
	state     state
	listeners []conn.Listener
	barred    map[identity.NodeID]bool
	opening   []*opening // the oldest first
	refusing  int        // connections that are being refused
}

type state uint8

const (
	isNew state = iota
	isStarting
	isRunning
	isClosing // nothing new is taken in; what was sent is delivered
)

// New makes a hub. It opens nothing: that is what [Hub.Start] does. After New has
// succeeded, Close has to be called at last.
func New(cfg Config) (*Hub, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Hub{cfg: cfg, self: cfg.Key.ID(), env: cfg.env(), barred: map[identity.NodeID]bool{},
		adding: env.NewLock(), started: make(chan struct{}), stopped: make(chan struct{}),
		local: conn.Local{Key: cfg.Key, HandshakeTimeout: cfg.DialTime, MaxHandshakes: cfg.MaxHandshakes}}
	if err := h.tryEndpoint(); err != nil {
		return nil, fmt.Errorf("hub: Config.Endpoint: %w", err)
	}
	h.cfg.Log = cfg.Log.With("node", h.self.Short())
	h.known = race.NewMemory[identity.NodeID, identity.Address](h.env, race.MemoryConfig{})
	h.members.Store(&table{})
	h.in.signal, h.in.ended = make(chan struct{}, 1), map[identity.NodeID]*member{}
	h.ctx, h.cancel = context.WithCancelCause(env.With(context.Background(), h.env))
	return h, nil
}

// tryEndpoint finds out whether endpoints can be made as configured.
func (h *Hub) tryEndpoint() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	other := h.self
	other[0] ^= 1
	_, err := endpoint.New(ctx, h.self, other, h.cfg.Endpoint)
	return err
}

// Self returns the ID of the hub's node.
func (h *Hub) Self() identity.NodeID { return h.self }

// Start listens, and begins to connect to the members: those added before and
// those yet to be added. ctx bounds the call, not the hub. After an error, the
// hub can only be closed.
func (h *Hub) Start(ctx context.Context) error {
	h.mu.Lock()
	if h.state != isNew {
		defer h.mu.Unlock()
		if h.state == isClosing {
			return errClosed
		}
		return errors.New("hub: Start was called before")
	}
	h.state = isStarting
	h.mu.Unlock()
	for _, addr := range h.cfg.Listen {
		l, err := h.cfg.transport(addr.Scheme).Listen(ctx, h.local, addr)
		if err != nil {
			return fmt.Errorf("hub: listen at %s: %w", addr, err)
		}
		if !h.listen(l) {
			l.Close()
			return errClosed
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == isClosing {
		return errClosed
	}
	h.state = isRunning
	close(h.started)
	return nil
}

// listen keeps a listener, unless the hub is closing.
func (h *Hub) listen(l conn.Listener) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == isClosing {
		return false
	}
	h.listeners = append(h.listeners, l)
	h.running.add()
	h.env.Go(func() {
		defer h.running.done()
		h.accept(l)
	})
	return true
}

// Addrs returns the addresses that the hub listens at, with their real ports, in
// the order of Config.Listen.
func (h *Hub) Addrs() []identity.Address {
	h.mu.Lock()
	defer h.mu.Unlock()
	var addrs []identity.Address
	for _, l := range h.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// afterwards bounds how long Close waits for goroutines when it has ended all
// that they do.
const afterwards = 5 * time.Second

// Close ends the hub in order: nothing more can be sent; the connected members
// take what was sent before, for as long as ctx and Config.DrainTime allow; then
// the listeners, the endpoints, on this side only, and the transports are closed,
// and nothing is left running. To members the hub looks like a node whose
// connection broke: they keep their endpoints, and learn of the restart when the
// node is back, if there is one: with [Config.Journal] their channels go on.
//
// Close returns an error if a member had not taken everything. One that is not
// connected, or closes its hub meanwhile, is not waited for. Recv goes on to return
// messages until Close has come to the endpoints. A second call waits for the
// first, until ctx ends, and returns what that has returned. Close must not be
// called from a callback.
func (h *Hub) Close(ctx context.Context) error {
	h.mu.Lock()
	first := h.state != isClosing
	h.state = isClosing
	h.closing.Store(true)
	h.mu.Unlock()
	if !first {
		if h.env.Wait(h.stopped, ctx.Done(), nil) == 1 {
			return fmt.Errorf("hub: close: %w", context.Cause(ctx))
		}
		return h.closed
	}
	defer close(h.stopped)
	h.closed = h.close(ctx)
	return h.closed
}

// close ends the hub, and waits until it has.
func (h *Hub) close(ctx context.Context) error {
	errs := []error{h.drain(ctx)}
	h.mu.Lock()
	listeners := h.listeners
	h.mu.Unlock()
	for _, l := range listeners {
		l.Close() // before connections end: members would dial again at once
	}
	h.cancel(&conn.CloseError{Code: conn.CodeShutdown, Reason: "the hub is closed"})
	over, cancel := env.WithTimeout(h.env, context.Background(), afterwards)
	defer cancel()
	if h.env.Wait(h.running.idle(), over.Done(), nil) == 1 {
		errs = append(errs, errors.New("hub: close: a callback of Config does not return"))
	}
	for _, t := range h.cfg.Transports {
		if err := t.Close(); err != nil {
			errs = append(errs, fmt.Errorf("hub: close: %w", err))
		}
	}
	return errors.Join(errs...)
}

// drain waits until the connected members have taken what was sent to them, and
// know what this node has taken of theirs.
func (h *Hub) drain(ctx context.Context) error {
	ctx, cancel := env.WithTimeout(h.env, ctx, h.cfg.DrainTime)
	defer cancel()
	told := h.env.Now().Add(h.cfg.Endpoint.AckDelay * 5 / 4)
	connected := false
	var flushing group
	var left atomic.Int64
	for _, m := range h.members.Load().order {
		connected = connected || m.ep.Conn() != nil
		if m.ep.Stats().Waiting > 0 {
			flushing.add()
			h.env.Go(func() {
				defer flushing.done()
				if !m.flush(ctx) {
					left.Add(1)
				}
			})
		}
	}
	h.env.Wait(flushing.idle(), nil, nil)
	if more := told.Sub(h.env.Now()); connected && more > 0 {
		last, cancel := env.WithTimeout(h.env, ctx, more)
		h.env.Wait(last.Done(), nil, nil)
		cancel()
	}
	if n := left.Load(); n > 0 {
		return fmt.Errorf("hub: closed before %d members had taken everything", n)
	}
	return nil
}

// A group counts goroutines.
type group struct {
	mu    sync.Mutex // guards the rest
	n     int
	empty chan struct{} // closed when n becomes 0; nil: nobody has asked
}

func (g *group) add() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
}

func (g *group) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// idle returns a channel that is closed once nobody runs.
func (g *group) idle() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	empty := make(chan struct{})
	if g.n == 0 {
		close(empty)
		return empty
	}
	if g.empty == nil {
		g.empty = empty
	}
	return g.empty
}
