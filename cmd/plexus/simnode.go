package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/plexus-net/plexus"
	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behaviors/discovery"
	"github.com/plexus-net/plexus/behaviors/latency"
	"github.com/plexus-net/plexus/behaviors/state"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
	"github.com/plexus-net/plexus/testnet"
)

// A simNode is the batteries of a node, as package plexus puts them together,
// and a behaviour that makes and serves calls.
type simNode struct {
	discovery *discovery.Discovery // nil where the network is wired
	latency   *latency.Latency
	state     *state.State
	rpc       *rpc.Client
}

// locate returns the ID of the node that serves it.
var locate = rpc.NewMethod[string, identity.NodeID]("locate")

// register puts the batteries on a node.
func (m *meter) register(n *testnet.Node) error {
	x := &simNode{rpc: rpc.NewClient()}
	w := &worker{meter: m, index: n.Index, rpc: x.rpc, mean: m.scenario.calls}
	locate.HandleWith(&w.server, rpc.Options{Inline: true}, func(context.Context, string) (identity.NodeID, error) { return n.Key.ID(), nil })
	err := n.Register(plexus.RPCService, x.rpc)
	if err == nil && !m.scenario.wired {
		err = m.batteries(n, x)
	}
	if err == nil {
		err = n.Register(demoService, w)
	}
	m.nodes[n.Index], m.ids[n.Index], m.keys[n.Index] = x, n.Key.ID(), n.Key.ID().Key()
	return err
}

// batteries adds discovery, latency measurement and the shared map.
func (m *meter) batteries(n *testnet.Node, x *simNode) error {
	cfg := discovery.Config{Key: n.Key, Target: m.opts.target, Directory: n.Table.(router.Directory), Services: n.Services, Addresses: n.Addresses}
	if n.Index == 0 {
		m.first = n
	} else {
		cfg.Seeds = []identity.PeerAddress{m.first.Address()}
	}
	x.discovery, x.latency, x.state = discovery.New(cfg), latency.New(latency.Config{}), state.New(state.Config{Key: n.Key})
	err := n.Register(discovery.Service, x.discovery)
	if err == nil {
		err = n.Register(latency.Service, x.latency)
	}
	if err == nil {
		err = n.Register(state.Service, x.state)
	}
	return err
}

// A worker calls other nodes now and then, and serves their calls.
type worker struct {
	meter  *meter
	index  int
	rpc    *rpc.Client
	server rpc.Server
	mean   time.Duration
}

// Parts returns what takes calls: first what counts their hops.
func (w *worker) Parts() []behavior.Part { return []behavior.Part{hopCounter{w.meter}, &w.server} }

func (*worker) Describe() behavior.Info { return behavior.Info{Name: "plexus/worker", Version: 1} }

func (*worker) OnMessage(*agent.Behavior, *conn.Message) {}

func (w *worker) OnStart(a *agent.Behavior) error {
	w.schedule(a)
	return nil
}

// OnStop counts nodes that stop in good order: no fault of the simulation says
// so.
func (w *worker) OnStop(*agent.Behavior) { w.meter.faults["stop"]++ }

// schedule sets the next call, at random, so that not all nodes call at once.
func (w *worker) schedule(a *agent.Behavior) {
	a.After(w.mean/2+time.Duration(a.Rand().Int64N(int64(w.mean))), nil)
}

// OnEvent makes a call when its time has come.
func (w *worker) OnEvent(a *agent.Behavior, _ conn.Info, _ any) {
	w.schedule(a)
	m := w.meter
	if m.sim == nil {
		return
	}
	var to router.Route
	var key identity.Key
	if m.scenario.wired {
		key = identity.KeyOf(fmt.Append(nil, a.Rand().Uint64()))
		to = router.ToKey(key)
	} else {
		other := w.other(a.Rand())
		if other < 0 {
			return
		}
		to = router.ToNode(m.ids[other])
	}
	m.made++
	began := m.sim.Now()
	err := locate.Go(w.rpc, to.At(demoService), "", func(at identity.NodeID, err error) {
		m.called(m.sim.Now()-began, err)
		if err == nil && m.scenario.wired && at == m.owner(key) {
			m.closest++
		}
	})
	if err != nil {
		m.called(0, err)
	}
}

// other draws another node that is up, -1 if there is none.
func (w *worker) other(rng *rand.Rand) int {
	for range 20 {
		if i := rng.IntN(len(w.meter.nodes)); i != w.index && w.meter.sim.Up(i) {
			return i
		}
	}
	return -1
}

// called notes how a call has ended.
func (m *meter) called(took time.Duration, err error) {
	var failed *rpc.Error
	switch {
	case err == nil:
		m.answered++
		m.roundTrips.add(uint64(took))
	case errors.As(err, &failed):
		m.failed++
		m.failures[failed.Code.String()]++
	default:
		m.failed++
		m.failures["other"]++
	}
}

// A hopCounter sees the calls that come in, and leaves them to the server.
type hopCounter struct{ *meter }

func (c hopCounter) Take(_ *agent.Behavior, m *conn.Message) bool {
	c.hops.add(uint64(m.Hops))
	return false
}
