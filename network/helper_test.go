package network_test

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// key returns the key with a number, the same on every run.
func key(t testing.TB, n byte) identity.PrivateKey {
	t.Helper()
	seed := make([]byte, 32)
	seed[0] = n
	k, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// direct is a table that knows neighbours and, where via says so, who leads to
// whom.
type direct struct {
	self identity.NodeID
	mu   sync.RWMutex
	link map[identity.NodeID]identity.ConnID
	via  map[identity.NodeID]identity.NodeID
	srv  map[identity.ServiceID]identity.NodeID
	rtt  map[identity.NodeID]time.Duration
	near identity.NodeID // closest to every key; zero: this node
}

func newDirect(self identity.NodeID) *direct {
	return &direct{self: self, link: map[identity.NodeID]identity.ConnID{}, via: map[identity.NodeID]identity.NodeID{}, srv: map[identity.ServiceID]identity.NodeID{}, rtt: map[identity.NodeID]time.Duration{}}
}

func (d *direct) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if dest == d.self {
		return router.Deliver()
	}
	if via, ok := d.via[dest]; ok {
		dest = via
	}
	if c := d.link[dest]; c != in {
		return router.Forward(c)
	}
	return router.Reject()
}

func (d *direct) PathToKey(key identity.Key, in identity.ConnID) router.Action {
	d.mu.RLock()
	near := d.near
	d.mu.RUnlock()
	if near.IsZero() {
		return router.Deliver()
	}
	return d.PathToNode(near, in)
}

func (d *direct) PathToService(id identity.ServiceID, in identity.ConnID) router.Action {
	d.mu.RLock()
	node, ok := d.srv[id]
	d.mu.RUnlock()
	if !ok {
		return router.Reject()
	}
	return d.PathToNode(node, in)
}

func (d *direct) AddLink(l router.Link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link[l.Node] = l.Conn
	d.rtt[l.Node] = l.RTT
}

func (d *direct) RemoveLink(id identity.ConnID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for node, c := range d.link {
		if c == id {
			delete(d.link, node)
		}
	}
}

func (d *direct) SetLocal([]identity.ServiceID) {}

// A host is a node under test.
type host struct {
	*network.Node
	t     testing.TB
	table *direct
	key   identity.PrivateKey
	addr  identity.Address
	done  chan error
}

func (h *host) peer() identity.PeerAddress {
	return identity.PeerAddress{ID: h.Self(), Addresses: []identity.Address{h.addr}}
}

// bench is a set of nodes on one in-memory network.
type bench struct {
	t       testing.TB
	net     *mem.Network
	durable bool // connections of the nodes are
}

func newBench(t testing.TB) *bench { return &bench{t: t, net: mem.NewNetwork()} }

// host makes a node; prepare may change its configuration.
func (b *bench) host(n byte, prepare ...func(*network.Config)) *host {
	b.t.Helper()
	k := key(b.t, n)
	h := &host{t: b.t, key: k, table: newDirect(k.ID()), done: make(chan error, 1)}
	cfg := network.Config{Durable: b.durable, Key: k, Router: h.table, Transports: []conn.Transport{b.net.Transport()}}
	if os.Getenv("PLEXUS_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, p := range prepare {
		p(&cfg)
	}
	node, err := network.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	h.Node = node
	return h
}

// run starts a node that listens.
func (h *host) run(address string) *host {
	h.t.Helper()
	addr, err := h.Listen(h.t.Context(), address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.addr = addr
	go func() { h.done <- h.Run(context.Background()) }()
	select {
	case <-h.Started():
	case err := <-h.done:
		h.t.Fatal("Run:", err)
	}
	h.t.Cleanup(h.close)
	return h
}

func (h *host) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		h.t.Error("Close:", err)
	}
}

// connect connects a to b and waits until both sides have the connection.
func connect(t testing.TB, a, b *host) conn.Info {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	info, err := a.Connect(ctx, b.peer())
	if err != nil {
		t.Fatal("Connect:", err)
	}
	return info
}

// probe is a behaviour whose callbacks are functions, and that records them.
type probe struct {
	info         behavior.Info
	onMessage    func(*agent.Behavior, *conn.Message)
	onConnect    func(*agent.Behavior, conn.Info) behavior.Handler
	onDisconnect func(*agent.Behavior, conn.Info, error)
	onEvent      func(*agent.Behavior, conn.Info, any)
	onDialError  func(*agent.Behavior, conn.Dial, error)
	onReport     func(*agent.Behavior, agent.Report)
	admit        func(*agent.Behavior, conn.Peer) error
	onStart      func(*agent.Behavior) error
	onStop       func(*agent.Behavior)
	onTick       func(*agent.Behavior, time.Time)
	parts        []behavior.Part

	a         *agent.Behavior
	connected chan conn.Info
	lost      chan error
	received  chan received
}

type received struct {
	conn.Message
	text string
}

func newProbe() *probe {
	return &probe{info: behavior.Info{Name: "probe"}, connected: make(chan conn.Info, 100), lost: make(chan error, 100), received: make(chan received, 10000)}
}

func (p *probe) Describe() behavior.Info { return p.info }

func (p *probe) OnStart(a *agent.Behavior) error {
	p.a = a
	if p.onStart != nil {
		return p.onStart(a)
	}
	return nil
}

func (p *probe) OnTick(a *agent.Behavior, now time.Time) {
	if p.onTick != nil {
		p.onTick(a, now)
	}
}

func (p *probe) Parts() []behavior.Part { return p.parts }

func (p *probe) OnStop(a *agent.Behavior) {
	if p.onStop != nil {
		p.onStop(a)
	}
}

func (p *probe) Admit(a *agent.Behavior, c conn.Peer) error {
	if p.admit != nil {
		return p.admit(a, c)
	}
	return nil
}

func (p *probe) OnMessage(a *agent.Behavior, m *conn.Message) {
	if p.onMessage != nil {
		p.onMessage(a, m)
		return
	}
	p.received <- received{*m, string(m.Payload)}
}

func (p *probe) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	var h behavior.Handler
	if p.onConnect != nil {
		h = p.onConnect(a, c)
	}
	p.connected <- c
	return h
}

func (p *probe) OnDisconnect(a *agent.Behavior, c conn.Info, cause error) {
	if p.onDisconnect != nil {
		p.onDisconnect(a, c, cause)
	}
	p.lost <- cause
}

func (p *probe) OnEvent(a *agent.Behavior, from conn.Info, ev any) {
	if p.onEvent != nil {
		p.onEvent(a, from, ev)
	}
}

func (p *probe) OnDialError(a *agent.Behavior, d conn.Dial, err error) {
	if p.onDialError != nil {
		p.onDialError(a, d, err)
	}
}

func (p *probe) OnReport(a *agent.Behavior, r agent.Report) {
	if p.onReport != nil {
		p.onReport(a, r)
	}
}

const service identity.ServiceID = 70

// with makes and runs a node with a probe.
func (b *bench) with(n byte, p *probe, prepare ...func(*network.Config)) *host {
	b.t.Helper()
	h := b.host(n, prepare...)
	if p != nil {
		if err := h.Register(service, p); err != nil {
			b.t.Fatal(err)
		}
	}
	return h.run("mem://node" + string('a'+rune(n)))
}

// get receives from a channel, or fails after a while.
func get[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came: ", what)
	}
	return v
}
