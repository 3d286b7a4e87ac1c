package agent

import (
	"context"
	"math/rand/v2"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A Behavior acts for a behaviour, node-wide.
type Behavior struct{ common }

// NewBehavior makes the agent of a behaviour. Only runtimes and test kits do.
func NewBehavior(env Env) *Behavior { return &Behavior{common{env, rand.New(env.Source)}} }

// Dial asks for a connection to a node. The result is OnConnect or OnDialError
// of every behaviour; dials of one node at the same time are one dial. It
// answers at once with ErrConnected, ErrSelf or ErrStopped.
func (a *Behavior) Dial(peer identity.PeerAddress) error {
	return a.env.Backend.Do(Op{Code: OpDial, Peer: peer})
}

// Authorize lets a connection be written to that was admitted with
// conn.ErrReadOnly.
func (a *Behavior) Authorize(id identity.ConnID) error {
	return a.env.Backend.Do(Op{Code: OpAuthorize, Conn: id})
}

// Close ends a connection. The cause reaches the other node, and arrives in
// OnClose and OnDisconnect on both.
func (a *Behavior) Close(id identity.ConnID, cause error) error { return a.close(id, cause) }

// Tell gives ev to OnEvent of this behaviour, later, or fails with
// ErrQueueFull.
func (a *Behavior) Tell(ev any) error { return a.env.Backend.Do(Op{Code: OpTell, Event: ev}) }

// Post gives ev to OnEvent of this behaviour, waiting while its queue is full,
// until ctx ends. It is how a goroutine that a behaviour started comes home; it
// must not be called from a callback.
func (a *Behavior) Post(ctx context.Context, ev any) error {
	return a.env.Backend.Do(Op{Code: OpPost, Event: ev, Context: ctx})
}

// Do runs f on the behaviour's turn, between callbacks, and waits for it, until
// ctx ends; then f may still run. Exported query methods of a behaviour use it
// instead of a lock. It must not be called from a callback.
func (a *Behavior) Do(ctx context.Context, f func()) error {
	return a.env.Backend.Do(Op{Code: OpDo, Func: f, Context: ctx})
}

// Conns returns the open connections whose node has this service and that may
// be written to.
func (a *Behavior) Conns() []conn.Info { return a.env.Backend.Conns() }

// Stats returns the statistics of a connection, false if it is gone.
func (a *Behavior) Stats(id identity.ConnID) (conn.Stats, bool) { return a.env.Backend.Stats(id) }

// Broadcast sends a message to every connected node that has this service and
// whose connection may be written to. It returns to how many it was queued.
func (a *Behavior) Broadcast(kind conn.Kind, payload []byte) int {
	conns := a.Conns()
	return a.broadcast(conns, len(conns), kind, payload)
}

// BroadcastTo is Broadcast to the given nodes, as far as they are connected.
// Each gets the message once.
func (a *Behavior) BroadcastTo(nodes []identity.NodeID, kind conn.Kind, payload []byte) int {
	want := make(map[identity.NodeID]bool, len(nodes))
	for _, id := range nodes {
		want[id] = true
	}
	var to []conn.Info
	for _, c := range a.Conns() {
		if want[c.Node] {
			to = append(to, c)
		}
	}
	return a.broadcast(to, len(to), kind, payload)
}

// BroadcastRandom sends a message to n of the nodes that Broadcast would reach,
// all different and drawn at random, or to all of them if they are fewer. It
// returns to how many it was queued; n <= 0 sends nothing.
func (a *Behavior) BroadcastRandom(n int, kind conn.Kind, payload []byte) int {
	conns := a.Conns()
	a.rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	return a.broadcast(conns, n, kind, payload)
}

// broadcast sends to conns until n have taken the message.
func (a *Behavior) broadcast(conns []conn.Info, n int, kind conn.Kind, payload []byte) int {
	sent := 0
	seen := make(map[identity.NodeID]bool, len(conns))
	for _, c := range conns {
		if sent >= n {
			break
		}
		if !seen[c.Node] && a.Send(router.ToConn(c.ID), kind, payload) == nil {
			seen[c.Node] = true
			sent++
		}
	}
	return sent
}

// A Handler acts for a handler, on one connection.
type Handler struct {
	common
	info conn.Info
}

// NewHandler makes the agent of a handler. Only runtimes and test kits do.
func NewHandler(env Env, info conn.Info) *Handler {
	return &Handler{common{env, rand.New(env.Source)}, info}
}

// Info returns the connection of the handler.
func (a *Handler) Info() conn.Info { return a.info }

// Stats returns the statistics of the connection.
func (a *Handler) Stats() conn.Stats {
	s, _ := a.env.Backend.Stats(a.info.ID)
	return s
}

// Reply sends a message to the handler, or else behaviour, at the other end of
// the connection.
func (a *Handler) Reply(kind conn.Kind, payload []byte) error {
	return a.env.Backend.Send(Outgoing{To: router.ToConn(a.info.ID), Kind: kind, Payload: payload})
}

// Tell gives ev to OnEvent of the handler's behaviour, or fails with
// ErrQueueFull. What a handler tells while closing arrives before the
// behaviour's OnDisconnect.
func (a *Handler) Tell(ev any) error { return a.env.Backend.Do(Op{Code: OpTell, Event: ev}) }

// Close ends the connection of the handler. The cause reaches the other node,
// and arrives in OnClose and OnDisconnect on both.
func (a *Handler) Close(cause error) error { return a.close(a.info.ID, cause) }
