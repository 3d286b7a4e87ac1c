package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/race"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// A PanicError is the result of Run when a behaviour panicked and the
// configuration says to stop then.
type PanicError struct {
	Service identity.ServiceID
	Value   any
	Stack   []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("network: the behaviour of service %d panicked: %v\n%s", e.Service, e.Value, e.Stack)
}

// A Node is one member of a network. Make it with [New], register behaviours,
// then [Node.Run] it. All methods may be called from any goroutine, and but for
// those that wait, from callbacks too.
type Node struct {
	cfg      Config
	self     identity.NodeID
	instance uint64
	env      env.Env
	trace    env.Tracer // nil: nobody wants to know of callbacks
	local    conn.Local
	learner  router.Learner // nil: the table does not want to learn
	count    counters

	ctx     context.Context // ends when the node stops
	cancel  context.CancelCauseFunc
	started chan struct{}
	stopped chan struct{}
	running group // goroutines other than Run's

	table atomic.Pointer[serviceTable]
	links sync.Map                // identity.ConnID -> *link
	list  atomic.Pointer[[]*link] // the same, in the order of their IDs; replaced under mu

	mu        sync.Mutex // guards the rest
	state     nodeState
	stopping  bool
	lastConn  identity.ConnID
	byNode    map[identity.NodeID]*link
	pending   map[identity.NodeID]chan struct{} // handshakes that have chosen to be ready; closed when they end
	perHost   map[string]int
	listeners []conn.Listener
	opening   []*handshake // the oldest first
	dials     map[identity.NodeID]*dial
	wanted    map[identity.NodeID]*want
	kept      map[identity.NodeID][]kept
	pings     map[uint64]ping
	caretaker env.Timer

	addresses *race.Memory[identity.NodeID, identity.Address]

	said    atomic.Uint64 // hellos and readies
	routing sync.Mutex    // serialises calls of the learner
	setup   env.Lock      // serialises Register and Unregister
}

type nodeState uint8

const (
	isNew nodeState = iota
	isRunning
	isStopped
)

// A serviceTable is what is registered. It is replaced, never changed.
type serviceTable struct {
	byID  map[identity.ServiceID]*service
	order []*service // as registered: the order of Admit
}

// New makes a node. It opens nothing and starts nothing: that is what Listen,
// Add and Run do.
func New(cfg Config) (*Node, error) {
	for _, t := range cfg.Transports {
		if p, ok := t.(env.Provider); ok {
			return newNode(cfg, p.Env())
		}
	}
	return newNode(cfg, env.Real{})
}

func newNode(cfg Config, e env.Env) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, self: cfg.Key.ID(), env: e, addresses: race.NewMemory[identity.NodeID, identity.Address](e, race.MemoryConfig{}), instance: e.Source().Uint64(),
		started: make(chan struct{}), stopped: make(chan struct{}), setup: env.NewLock(),
		byNode: make(map[identity.NodeID]*link), pending: make(map[identity.NodeID]chan struct{}), perHost: make(map[string]int),
		dials: make(map[identity.NodeID]*dial), wanted: make(map[identity.NodeID]*want), kept: make(map[identity.NodeID][]kept), pings: make(map[uint64]ping),
		local: conn.Local{Key: cfg.Key, HandshakeTimeout: cfg.Limits.HandshakeTime, MaxHandshakes: cfg.Limits.Handshakes}}
	n.cfg.Log = cfg.Log.With("node", n.self.Short())
	n.trace, _ = e.(env.Tracer)
	n.learner, _ = cfg.Router.(router.Learner)
	n.list.Store(new([]*link))
	n.table.Store(&serviceTable{byID: map[identity.ServiceID]*service{}})
	n.ctx, n.cancel = context.WithCancelCause(env.With(context.Background(), e))
	return n, nil
}

// Self returns the node's ID.
func (n *Node) Self() identity.NodeID { return n.self }

// Started returns a channel that is closed when Run has started every
// behaviour.
func (n *Node) Started() <-chan struct{} { return n.started }

func (n *Node) services() map[identity.ServiceID]*service { return n.table.Load().byID }

func (n *Node) link(id identity.ConnID) *link {
	if v, ok := n.links.Load(id); ok {
		return v.(*link)
	}
	return nil
}

// eachLink calls f for every open link, in the order of their IDs.
func (n *Node) eachLink(f func(*link)) {
	for _, l := range *n.list.Load() {
		f(l)
	}
}

// Register puts a behaviour under a service ID, on a node that runs or is yet
// to. On a running node it returns after OnStart. A duplicate ID, a callback
// that would never run, and an error of OnStart are errors.
func (n *Node) Register(id identity.ServiceID, b behavior.Behavior) error {
	return n.register(id, b, nil, 0)
}

// RegisterFunc is Register with a function that makes the behaviour. After a
// panic it is called again, under back-off, for another.
func (n *Node) RegisterFunc(id identity.ServiceID, fresh func() behavior.Behavior) error {
	if fresh == nil {
		return errors.New("network: RegisterFunc needs a function")
	}
	return n.register(id, fresh(), fresh, 0)
}

func (n *Node) register(id identity.ServiceID, b behavior.Behavior, fresh func() behavior.Behavior, falls int) error {
	s, err := n.newService(id, b)
	if err != nil {
		return err
	}
	s.fresh, s.falls = fresh, falls
	n.setup.Acquire(n.env)
	defer n.setup.Release()
	n.mu.Lock()
	state, stopping := n.state, n.stopping
	n.mu.Unlock()
	old := n.table.Load()
	switch {
	case stopping:
		return agent.ErrStopped
	case old.byID[id] != nil:
		return fmt.Errorf("network: service %d is taken by %s; choose another ID", id, old.byID[id].info.Name)
	case wire.ServicesSize(append(n.announced(), s.announce())) > maxServiceBytes || len(old.order) >= wire.MaxServices:
		return fmt.Errorf("network: service %d: the node has too many services: their descriptions may take %d bytes", id, maxServiceBytes)
	}
	if state == isRunning {
		ctx, cancel := env.WithTimeout(n.env, n.ctx, n.cfg.Limits.ShutdownTime)
		defer cancel()
		if err := s.begin(ctx); err != nil {
			if falls == 0 {
				s.fresh = nil // the caller is told: it is not for the node to try again
			}
			s.gone.Store(true)
			s.timers.close()
			s.box.close()
			s.stop(err)
			return err
		}
	}
	next := &serviceTable{byID: maps.Clone(old.byID), order: append(slices.Clone(old.order), s)}
	next.byID[id] = s
	n.table.Store(next)
	if state == isRunning {
		n.servicesChanged()
		n.startTick(s)
	}
	return nil
}

// maxServiceBytes bounds the service table in a hello.
const maxServiceBytes = 60 << 10

// Unregister removes a behaviour: OnStop, then OnDisconnect for each of its
// connections. It waits for both, so it must not be called from a callback.
func (n *Node) Unregister(id identity.ServiceID) error {
	n.setup.Acquire(n.env)
	defer n.setup.Release()
	s := n.services()[id]
	if s == nil {
		return fmt.Errorf("network: service %d is not registered", id)
	}
	n.mu.Lock()
	stopping := n.stopping
	n.mu.Unlock()
	if stopping {
		return agent.ErrStopped
	}
	ctx, cancel := env.WithTimeout(n.env, context.Background(), n.cfg.Limits.ShutdownTime)
	defer cancel()
	s.farewell(ctx)
	n.withdraw(s)
	s.end(ctx)
	return nil
}

// withdraw takes a service out of the table and off the links. The caller
// holds n.setup.
func (n *Node) withdraw(s *service) {
	old := n.table.Load()
	if old.byID[s.id] != s {
		return
	}
	next := &serviceTable{byID: maps.Clone(old.byID), order: slices.Clone(old.order)}
	delete(next.byID, s.id)
	next.order = slices.DeleteFunc(next.order, func(o *service) bool { return o == s })
	n.table.Store(next)
	n.servicesChanged()
}

// announced returns the services as the hello tells them.
func (n *Node) announced() []wire.Service {
	var out []wire.Service
	for _, s := range n.table.Load().order {
		out = append(out, s.announce())
	}
	return out
}

func (s *service) announce() wire.Service {
	w := wire.Service{Service: conn.Service{ID: s.id, Name: s.info.Name, Version: s.info.Version}, Window: uint32(s.info.Window), Private: s.info.Private}
	if w.Private {
		w.Name, w.Version = "", 0
	}
	return w
}

// Services returns the services that this node tells others of.
func (n *Node) Services() []conn.Service {
	var out []conn.Service
	for _, s := range n.table.Load().order {
		if !s.info.Private {
			out = append(out, s.announce().Service)
		}
	}
	return out
}

// servicesChanged tells the table, the links and the other ends.
func (n *Node) servicesChanged() {
	n.tellLocal()
	announced := n.announced()
	ctx, cancel := env.WithTimeout(n.env, context.Background(), n.cfg.Limits.ShutdownTime)
	defer cancel()
	n.eachLink(func(l *link) {
		l.out.order(func(b []byte) []byte { return wire.AppendServices(b, announced) })
		done := make(chan struct{})
		if l.post(linkEvent{op: evFunc, ev: func() { l.match(); close(done) }}) == nil {
			n.env.Wait(done, l.ended, ctx.Done()) // in vain where a handler blocks: the watchdog has named it
		}
	})
}

// tellLocal tells the table what this node serves.
func (n *Node) tellLocal() {
	if n.learner == nil {
		return
	}
	n.routing.Lock()
	defer n.routing.Unlock()
	var ids []identity.ServiceID
	for _, s := range n.table.Load().order {
		if !s.info.Private {
			ids = append(ids, s.id)
		}
	}
	n.learner.SetLocal(ids)
}

// startTick starts the timer of a service.
func (n *Node) startTick(s *service) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.info.Tick > 0 && !s.still {
		s.ticker = n.env.AfterFunc(s.info.Tick, s.tick)
	}
}

// Run starts the behaviours in the order of their registration, then runs the
// node until ctx ends, Close is called (agent.ErrStopped), or a behaviour panics and the
// configuration says to stop then; and returns the cause. Before it returns it
// stops the node, within Limits.ShutdownTime: no more connections, OnStop of
// every behaviour, what they sent leaves, connections close, OnDisconnect,
// transports close. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	n.mu.Lock()
	if n.state != isNew || n.stopping {
		n.mu.Unlock()
		return errors.New("network: a node runs once; make another with New")
	}
	n.state = isRunning
	n.mu.Unlock()
	defer close(n.stopped)
	unhook := n.env.OnDone(ctx, func() { n.cancel(context.Cause(ctx)) })
	defer unhook()

	n.tellLocal()
	if err := n.beginAll(); err != nil {
		n.cancel(err)
	} else {
		close(n.started)
		n.care()
		n.env.Wait(n.ctx.Done(), nil, nil)
	}
	n.shutdown()
	return context.Cause(n.ctx)
}

func (n *Node) beginAll() error {
	n.setup.Acquire(n.env)
	defer n.setup.Release()
	for _, s := range n.table.Load().order {
		if s.asked {
			continue // registered while Run began
		}
		err := s.begin(n.ctx)
		if bad := (*PanicError)(nil); errors.As(err, &bad) && !n.cfg.StopOnPanic {
			continue // it costs that behaviour
		}
		if err != nil {
			return err
		}
		n.startTick(s)
	}
	return nil
}

// Close stops the node and waits until Run has returned, or until ctx ends;
// then the node goes on stopping by itself. Called from a callback, it must
// not wait: give it a ctx that has ended.
func (n *Node) Close(ctx context.Context) error {
	n.cancel(agent.ErrStopped)
	n.mu.Lock()
	ran := n.state != isNew
	if !ran {
		n.state = isRunning // now Run comes too late
	}
	n.mu.Unlock()
	if !ran {
		defer close(n.stopped)
		n.shutdown()
		return nil
	}
	select {
	case <-n.stopped:
		return nil
	default:
	}
	if n.env.Wait(n.stopped, ctx.Done(), nil) == 1 {
		return context.Cause(ctx)
	}
	return nil
}

// shutdown stops everything, in the order that Run's comment states.
func (n *Node) shutdown() {
	n.mu.Lock()
	if n.stopping {
		n.mu.Unlock()
		return
	}
	n.stopping = true
	listeners := n.listeners
	n.listeners = nil
	if n.caretaker != nil {
		n.caretaker.Stop()
	}
	n.mu.Unlock()

	limit := n.cfg.Limits.ShutdownTime
	ctx, cancel := env.WithTimeout(n.env, context.Background(), limit)
	defer cancel()
	for _, l := range listeners {
		l.Close()
	}
	n.stopDials()
	n.setup.Acquire(n.env) // whoever registers or unregisters now finishes first
	order := slices.Clone(n.table.Load().order)
	n.setup.Release()
	slices.Reverse(order)
	half := n.env.Now().Add(limit / 2) // is for OnStop; a behaviour that blocks leaves their shares to the others
	for i, s := range order {
		share, done := env.WithTimeout(n.env, context.Background(), half.Sub(n.env.Now())/time.Duration(len(order)-i))
		s.farewell(share)
		done()
	}
	n.closeLinks(ctx)
	for _, s := range order {
		s.end(ctx)
	}
	for _, t := range n.cfg.Transports {
		if err := t.Close(); err != nil {
			n.cfg.Log.Warn("transport did not close", "err", err)
		}
	}
	n.awaitRunning(limit / 5)
	n.mu.Lock()
	n.state = isStopped
	n.mu.Unlock()
}

// closeLinks says goodbye on every link and waits for their ends, at most half
// of the time that is left.
func (n *Node) closeLinks(ctx context.Context) {
	var all []*link
	n.eachLink(func(l *link) {
		all = append(all, l)
		l.close(&conn.CloseError{Code: conn.CodeShutdown})
	})
	for _, l := range all {
		if n.env.Wait(l.ended, ctx.Done(), nil) == 1 {
			l.abort(&conn.CloseError{Code: conn.CodeShutdown}) // a handler that blocks holds it still: see awaitRunning
		}
	}
}

// awaitRunning waits until what the node runs has ended, but not for callbacks
// that never return.
func (n *Node) awaitRunning(d time.Duration) {
	ctx, cancel := env.WithTimeout(n.env, context.Background(), d)
	defer cancel()
	if n.env.Wait(n.running.idle(), ctx.Done(), nil) == 1 {
		n.cfg.Log.Error("the node has stopped, but a callback of a handler or behaviour still runs: callbacks must not block")
	}
}
