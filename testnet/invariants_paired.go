package testnet

import (
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Paired promises that connects and disconnects come in pairs, for each
// behaviour and connection: OnConnect; the messages and events of the
// connection; then OnDisconnect, once, soon after the connection has ended. The
// same holds for OnOpen and OnClose of a handler, which lie between the two. A
// node that crashes forgets; one that is stopped in good order closes first.
//
// It is for Always. Not looked at are messages of reserved kinds, which go to
// parts, and behaviours that do not have the callbacks.
func Paired() Invariant {
	return Invariant{"connects and disconnects are paired", func(s *Sim) Watch {
		p := &pairing{s: s, health: s.health(), disconnects: make(map[identity.ServiceID]bool)}
		return Watch{Event: p.event, Check: p.check}
	}}
}

// A pairing watches for Paired.
type pairing struct {
	s      *Sim
	health *conditions
	nodes  []map[pairKey]*pairState

	disconnects map[identity.ServiceID]bool // services whose behaviour has OnDisconnect: it was seen
}

// pairKey is a behaviour and a connection, of one node.
type pairKey struct {
	service identity.ServiceID
	conn    identity.ConnID
}

// pairState is how far a behaviour is with a connection.
//
//	fresh ── OnConnect ──> connected ── OnDisconnect ──> over
type pairState struct {
	peer         int
	connected    bool
	over         bool
	early        uint64 // the first message before OnConnect, where both ends had the service
	looked       bool   // for that
	opened       bool   // OnOpen has been called
	closed       bool   // OnClose has been called
	disconnected time.Duration
	missing      time.Duration // since when the node does not have the connection any more; 0: it has it
}

func (p *pairing) node(i int) map[pairKey]*pairState {
	for len(p.nodes) <= i {
		p.nodes = append(p.nodes, make(map[pairKey]*pairState))
	}
	return p.nodes[i]
}

func (p *pairing) event(e *Event) error {
	switch {
	case e.Kind == EventFault:
		return p.fault(e)
	case e.Kind != EventCall || e.Conn == 0 || e.Message >= conn.KindReserved:
		return nil
	}
	all, key := p.node(e.Node), pairKey{e.Service, e.Conn}
	st := all[key]
	if st == nil {
		st = &pairState{peer: e.Peer}
		all[key] = st
	}
	wrong := p.step(st, e)
	if wrong == "" || p.panicked(e.Node) {
		return nil
	}
	return fmt.Errorf("node %d: %s of service %d on connection %d: %s", e.Node, e.Name, e.Service, e.Conn, wrong)
}

// step takes in a callback, and says what is wrong with it.
func (p *pairing) step(st *pairState, e *Event) (wrong string) {
	switch e.Name {
	case "OnConnect":
		switch {
		case st.connected:
			wrong = "a second one without OnDisconnect"
		case st.early != 0:
			wrong = fmt.Sprintf("the message of event %d came before it", st.early)
		}
		*st = pairState{peer: e.Peer, connected: true}
	case "OnDisconnect":
		p.disconnects[e.Service] = true
		switch {
		case st.over:
			wrong = "a second one"
		case !st.connected:
			wrong = "there was no OnConnect"
		}
		*st = pairState{peer: st.peer, over: true, disconnected: p.s.Now()}
	case "OnOpen":
		switch {
		case !st.connected:
			wrong = "the behaviour is not connected"
		case st.opened:
			wrong = "a second one"
		case st.closed:
			wrong = "it comes after OnClose"
		}
		st.opened = true
	case "OnClose":
		switch {
		case !st.connected:
			wrong = "the behaviour is not connected"
		case st.closed:
			wrong = "a second one"
		}
		st.closed = true
	case "OnMessage":
		wrong = p.message(st, e)
	case "OnEvent", "OnTick":
		if !st.connected {
			wrong = "the behaviour is not connected"
		}
	}
	return wrong
}

// message is step for messages. Those of nodes further away come over a
// connection that is none of the behaviour's, perhaps; and a behaviour without
// OnConnect is not told of any.
func (p *pairing) message(st *pairState, e *Event) string {
	switch {
	case st.connected || e.Peer != st.peer || e.Peer < 0:
	case st.over:
		// The service may have gone at the other end, which still sends.
		if connOf(p.s.stateOf(e.Node), e.Conn) == nil {
			return "it comes after OnDisconnect"
		}
	case !st.looked:
		st.looked = true
		if p.matched(e) {
			st.early = e.ID
		}
	}
	return ""
}

// matched reports whether the sender of a message is the other end of the
// connection, and has the service.
func (p *pairing) matched(e *Event) bool {
	mine := p.s.stateOf(e.Node)
	c := connOf(mine, e.Conn)
	if c == nil || p.s.index(c.Node) != e.Peer {
		return false
	}
	for _, s := range mine.Services {
		if s.ID == e.Service {
			return !s.Private && slices.ContainsFunc(c.Services, func(o conn.Service) bool { return o.ID == s.ID && o.Name == s.Name })
		}
	}
	return false
}

// panicked reports whether a behaviour of a node has: it is not told of
// anything any more.
func (p *pairing) panicked(i int) bool { return p.s.stateOf(i).Counters["panics"] > 0 }

func (p *pairing) fault(e *Event) error {
	switch e.Name {
	case "restart":
		if !p.health.node(e.Node).revived {
			defer clear(p.node(e.Node))
			return p.leftOver(e.Node)
		}
		clear(p.node(e.Node))
	case "crash":
		clear(p.node(e.Node))
	}
	return nil
}

// leftOver says what a node that has stopped in good order has not closed.
func (p *pairing) leftOver(i int) error {
	var worst *pairKey
	for key, st := range p.node(i) {
		if st.connected && p.disconnects[key.service] && (worst == nil || key.before(*worst)) {
			worst = &pairKey{key.service, key.conn}
		}
	}
	if worst == nil || p.panicked(i) {
		return nil
	}
	return concerning([]int{i, p.node(i)[*worst].peer}, worst.service, "node %d has stopped, and service %d was not told OnDisconnect of connection %d", i, worst.service, worst.conn)
}

func (k pairKey) before(o pairKey) bool {
	return k.conn < o.conn || k.conn == o.conn && k.service < o.service
}

// told is how long after the end of a connection OnDisconnect may come.
const told = 5 * time.Second

// check looks for connections whose end the behaviours were not told of.
func (p *pairing) check() error {
	for i, all := range p.nodes {
		if !p.health.steady(i, told) {
			continue
		}
		open := make(map[identity.ConnID]bool)
		for _, c := range p.s.stateOf(i).Conns {
			open[c.ID] = true
		}
		var worst *pairKey
		for key, st := range all {
			switch {
			case open[key.conn] || !st.connected:
				st.missing = 0
				if st.over && p.s.Now()-st.disconnected > forget {
					delete(all, key)
				}
			case st.missing == 0:
				st.missing = p.s.Now()
			case p.s.Now()-st.missing > told && p.disconnects[key.service] && (worst == nil || key.before(*worst)):
				worst = &pairKey{key.service, key.conn}
			}
		}
		if worst != nil && !p.panicked(i) {
			return concerning([]int{i, all[*worst].peer}, worst.service, "node %d: connection %d, to node %d, has ended, and service %d was not told OnDisconnect", i, worst.conn, all[*worst].peer, worst.service)
		}
	}
	return nil
}

// forget is how long after OnDisconnect a second one, or a message, is looked for.
const forget = time.Minute
