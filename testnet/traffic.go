package testnet

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/rpc"
)

// A TrafficConfig says what a [Traffic] sends. Zero means the default.
type TrafficConfig struct {
	// Interval is how often a node sends: each time to one connection, to one
	// node, to one key, and a call. Default 250 ms.
	Interval time.Duration
	// Burst bounds how many messages it sends to the connection, handler and
	// behaviour. Default 8.
	Burst int
	// Size bounds payloads. Most are much smaller. Default 4 KiB, at most
	// Limits.Message.
	Size int
	// Within is how long a call may take. Default 5 s.
	Within time.Duration
	// Meet is how often nodes pair up, at random, to dial each other at the same
	// moment. Default 5 s; negative: never.
	Meet time.Duration
}

// A Traffic is what the nodes of a simulation send each other so that somebody
// can see what becomes of it: numbered messages to connections, nodes and keys,
// datagrams, and calls. Each node has a behaviour for it.
//
//	traffic := testnet.NewTraffic(testnet.TrafficConfig{})
//	always, eventually := testnet.Standard(traffic)
//	testnet.Check(t, testnet.Scenario{Always: always, Eventually: eventually,
//		Register: func(n *testnet.Node) error { return traffic.Register(n, 99) }, ...})
//
// It knows what every node has sent, and so what every node may receive. A
// Traffic may be in several scenarios, and in several runs at the same time.
type Traffic struct{ cfg TrafficConfig }

// NewTraffic makes a Traffic. Nothing is sent before it is registered.
func NewTraffic(cfg TrafficConfig) *Traffic {
	cfg.Interval = cmp.Or(max(cfg.Interval, 0), 250*time.Millisecond)
	cfg.Burst = cmp.Or(max(cfg.Burst, 0), 8)
	cfg.Size = cmp.Or(max(cfg.Size, 0), 4<<10)
	cfg.Within = cmp.Or(max(cfg.Within, 0), 5*time.Second)
	cfg.Meet = cmp.Or(cfg.Meet, 5*time.Second)
	return &Traffic{cfg}
}

// Register puts the behaviour for the traffic on a node of a simulation, under a
// service ID. It is to be called from [Scenario].Register, for every node.
func (t *Traffic) Register(n *Node, id identity.ServiceID) error {
	if n.sim == nil {
		return errors.New("testnet: Traffic is for simulations")
	}
	return n.Register(id, t.life(n))
}

// life makes the behaviour for a node that starts.
func (t *Traffic) life(n *Node) *trafficLife {
	r := n.sim.trafficOf(t)
	for len(r.lives) <= n.Index {
		r.lives = append(r.lives, nil)
	}
	l := &trafficLife{run: r, node: n, number: len(r.lives[n.Index]), flows: make(map[flowKey]*flow), calls: make(map[uint64]time.Duration), open: make(map[identity.ConnID]*handled), in: make(map[identity.ConnID][]*flow)}
	r.echo.Handle(&l.Server, l.serve)
	r.relay.Handle(&l.Server, l.serveRelay)
	r.lives[n.Index] = append(r.lives[n.Index], l)
	return l
}

// TrafficStats counts what a Traffic has done in a run.
type TrafficStats struct {
	Sent, Received uint64 // messages
	Refused        uint64 // messages and calls that were not sent: no way, or a full queue
	Calls          uint64
	Answered       uint64 // calls that ended with an answer
	Failed         uint64 // calls that ended with an error
	Met            uint64 // dials by pairs of nodes
}

// Stats returns what the traffic has done in a run so far.
func (t *Traffic) Stats(s *Sim) TrafficStats { return s.trafficOf(t).stats }

// Delivered promises of messages:
//
//   - what arrives was sent, to this node, and is unchanged;
//   - none arrives twice, but for datagrams, nor over another connection than
//     the one that it was sent to;
//   - those to the handler of a connection arrive in the order in which they
//     were sent, and none is left out; the same of those to its behaviour;
//   - none waits for longer than 15 s while its connection is open, both nodes
//     run and nothing is between them;
//   - none is lost with a connection that ends in good order, likewise.
//
// It is for Always. The last is too strict for links of which Rate is so low
// that their queues and windows are longer.
func (t *Traffic) Delivered() Invariant {
	return t.invariant(delivered, (*trafficRun).waiting)
}

// Answered promises that each call ends once, within its time, and is served at
// most once, and that an answer is that to its request. Calls of nodes that
// crash are forgotten; those of nodes that are stopped end.
//
// It is for Always. Nodes that pause or are slow may take longer.
func (t *Traffic) Answered() Invariant {
	return t.invariant(answered, (*trafficRun).unanswered)
}

// Dialled promises that a node whose dial has failed had a reason: one of the
// two nodes was down, has paused or is slow, or something was between them, in
// the last half minute; or the other one has refused.
//
// It is for Always, with links that do not take seconds for a message.
func (t *Traffic) Dialled() Invariant {
	return t.invariant(dialled, func(*trafficRun) error { return nil })
}

func (t *Traffic) invariant(p promise, check func(*trafficRun) error) Invariant {
	return Invariant{promises[p], func(s *Sim) Watch {
		r := s.trafficOf(t)
		r.kept[p] = true
		return Watch{Event: r.note, Check: func() error { return check(r) }}
	}}
}

// A promise is one of the invariants.
type promise int

const (
	delivered promise = iota
	answered
	dialled
)

var promises = [...]string{"messages arrive once and in order", "calls end once", "dials succeed"}

// A trafficRun is a Traffic in one run.
type trafficRun struct {
	cfg    TrafficConfig
	s      *Sim
	health *conditions
	lives  [][]*trafficLife // by node, the last one is the present one
	stats  TrafficStats
	echo   rpc.Method[call, call]
	relay  rpc.Method[call, call]
	fates  []fate
	kept   [len(promises)]bool // which of the invariants are those of the run
}

// trafficOf returns what a Traffic is in this run.
func (s *Sim) trafficOf(t *Traffic) *trafficRun {
	r := s.traffic[t]
	if r == nil {
		r = &trafficRun{cfg: t.cfg, s: s, health: s.health(),
			echo: rpc.NewMethod[call, call]("echo").Within(t.cfg.Within), relay: rpc.NewMethod[call, call]("relay").Within(t.cfg.Within)}
		if s.traffic == nil {
			s.traffic = make(map[*Traffic]*trafficRun)
		}
		s.traffic[t] = r
	}
	return r
}

// broken fails the run, with what happens now as the cause.
func (r *trafficRun) broken(p promise, format string, args ...any) {
	if r.kept[p] {
		r.s.fail(promises[p], fmt.Errorf(format, args...))
	}
}

// life returns the behaviour of a node in one of its lives, nil if there was none.
func (r *trafficRun) life(node, number uint32) *trafficLife {
	if int(node) < len(r.lives) && int(number) < len(r.lives[node]) {
		return r.lives[node][number]
	}
	return nil
}

// present returns the behaviour of a node now, nil if it has none.
func (r *trafficRun) present(node int) *trafficLife {
	if node < len(r.lives) && len(r.lives[node]) > 0 {
		return r.lives[node][len(r.lives[node])-1]
	}
	return nil
}

// note looks after what nodes that are stopped in good order leave.
func (r *trafficRun) note(e *Event) error {
	if e.Kind != EventFault || e.Name != "restart" {
		return nil
	}
	l := r.present(e.Node)
	if l == nil || l.over {
		return nil
	}
	l.over = true
	if id, _, left := l.oldest(); left && l.stopped && !r.health.node(e.Node).revived {
		r.broken(answered, "node %d has stopped, and its call %d has not ended", e.Node, id)
	}
	return nil
}

// patience is how long a message may wait while its connection is open.
const patience = 15 * time.Second

// patience is how long one may wait if connections may be durable.
func (r *trafficRun) patience() time.Duration { return r.s.scenario.renewal() + patience }

// waiting looks for messages that do not arrive.
func (r *trafficRun) waiting() error {
	patience := r.patience()
	for i := range r.lives {
		l := r.present(i)
		if l == nil || !r.health.steady(i, patience) {
			continue
		}
		for _, c := range r.s.stateOf(i).Conns {
			for _, kind := range []conn.Kind{kindConn, kindPeer} {
				f := l.flows[flowKey{c.ID, kind}]
				to := r.s.index(c.Node)
				if f == nil || len(f.sent) == 0 || r.s.Now()-f.sent[0] < patience || !r.health.steady(to, patience) || !r.health.clear(i, to, patience) {
					continue
				}
				return concerning([]int{i, to}, 0, "node %d: message %d to %s of connection %d, to node %d, was sent %v ago and has not arrived, though the connection is open",
					i, f.got, receiverOf(kind), c.ID, to, r.s.Now()-f.sent[0])
			}
		}
	}
	return r.unfulfilled()
}

// A fate is what the sender was told when a durable connection ended: the
// messages before number have arrived.
type fate struct {
	flow   *flow
	number uint64
	by     time.Duration // when their receiver has to have them
	from   int
	conn   identity.ConnID
}

// told takes down what a sender was told of its messages to the handler, or the
// behaviour, at the other end of a connection.
func (r *trafficRun) told(l *trafficLife, c conn.Info, kind conn.Kind, cause error) {
	f := l.flows[flowKey{c.ID, kind}]
	var ce *conn.CloseError
	if f == nil || !errors.As(cause, &ce) {
		return
	}
	number := f.next
	for _, m := range slices.Backward(ce.Unacknowledged) {
		if m.Kind != kind {
			continue
		}
		number--
		if got := numberOf(m.Payload); got != number {
			r.broken(delivered, "node %d: at the end of connection %d it was told that message %d may not have arrived, where %d should stand", l.node.Index, c.ID, got, number)
			return
		}
	}
	r.fates = append(r.fates, fate{f, number, r.s.Now() + patience, l.node.Index, c.ID})
}

// unfulfilled looks for messages that have not arrived though their sender was
// told so.
func (r *trafficRun) unfulfilled() (err error) {
	r.fates = slices.DeleteFunc(r.fates, func(f fate) bool {
		to := f.flow.to
		if f.flow.got >= f.number || to == nil || to.over || r.present(to.node.Index) != to {
			return true
		}
		if due := r.s.Now() >= f.by; due && r.health.steady(to.node.Index, patience) {
			err = fmt.Errorf("node %d was told at the end of connection %d that the messages before %d have arrived; %d has not", f.from, f.conn, f.number, f.flow.got)
		}
		return false
	})
	return err
}

// unanswered looks for calls that do not end.
func (r *trafficRun) unanswered() error {
	for i := range r.lives {
		l := r.present(i)
		if l == nil || !r.health.steady(i, told) {
			continue
		}
		if id, at, some := l.oldest(); some && r.s.Now()-at > r.cfg.Within+told {
			return concerning([]int{i}, 0, "node %d: call %d began %v ago and has not ended; it has %v", i, id, r.s.Now()-at, r.cfg.Within)
		}
	}
	return nil
}

// disturbed is for how long a dial suffers from what was.
const disturbed = 30 * time.Second

// dialFailed judges the failure of a dial.
func (r *trafficRun) dialFailed(from int, d conn.Dial, err error) {
	to := r.s.index(d.Peer.ID)
	if to < 0 || !r.health.steady(from, disturbed) || !r.health.steady(to, disturbed) || !r.health.clear(from, to, disturbed) {
		return
	}
	for _, code := range []conn.Code{conn.CodeRejected, conn.CodeLimit, conn.CodeShutdown, conn.CodeNetwork, conn.CodeVersion, conn.CodeSelf} {
		if errors.Is(err, code) {
			return
		}
	}
	r.broken(dialled, "node %d has dialled node %d in vain, though nothing was between them: %w", from, to, err)
}
