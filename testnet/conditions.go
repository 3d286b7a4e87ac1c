package testnet

import (
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
)

// conditions is what the faults have done to a network: what invariants that
// depend on it ask for.
type conditions struct {
	s       *Sim
	nodes   []condition
	blocked map[[2]int]bool          // from, to
	changed map[[2]int]time.Duration // when a way was blocked, unblocked or cut, of either direction
}

// A condition is that of a node.
type condition struct {
	down, paused, slow bool
	crashed            bool          // and has not been started since
	revived            bool          // its last start was after a crash
	changed            time.Duration // when it last crashed, restarted, paused or resumed
	faulted            bool          // it ever has
}

// health returns the conditions of a run. Who needs them asks before it begins.
func (s *Sim) health() *conditions {
	if s.conditions == nil {
		c := &conditions{s: s, blocked: make(map[[2]int]bool), changed: make(map[[2]int]time.Duration)}
		s.conditions = c
		s.observe = append(s.observe, c.note)
	}
	return s.conditions
}

func (c *conditions) node(i int) *condition {
	for len(c.nodes) <= i {
		c.nodes = append(c.nodes, condition{})
	}
	return &c.nodes[i]
}

// note takes in an event.
func (c *conditions) note(e *Event) {
	if e.Kind != EventFault {
		return
	}
	n := c.node(e.Node)
	switch e.Name {
	case "crash":
		n.down, n.crashed, n.paused = true, true, false
	case "restart":
		n.down, n.crashed, n.revived = false, false, n.crashed
	case "pause":
		n.paused = true
	case "resume":
		n.paused = false
	case "slow":
		n.slow = true
	case "block":
		c.blocked[[2]int{e.Node, e.Peer}] = true
	case "unblock":
		delete(c.blocked, [2]int{e.Node, e.Peer})
	}
	if e.Peer >= 0 {
		c.changed[between(e.Node, e.Peer)] = e.At
	} else {
		n.changed, n.faulted = e.At, true
	}
}

func between(a, b int) [2]int { return [2]int{min(a, b), max(a, b)} }

// steady reports whether a node has run, at its usual speed, for d.
func (c *conditions) steady(i int, d time.Duration) bool { return c.s.Up(i) && c.lively(i, d) }

// lively is steady for nodes that may be about to stop in good order.
func (c *conditions) lively(i int, d time.Duration) bool {
	n := c.node(i)
	switch {
	case n.down, n.paused, n.slow:
		return false
	case !n.faulted:
		return c.s.Now() >= d
	}
	return c.s.Now()-n.changed >= d
}

// clear reports whether nothing has been between two nodes for d.
func (c *conditions) clear(a, b int, d time.Duration) bool {
	if c.blocked[[2]int{a, b}] || c.blocked[[2]int{b, a}] {
		return false
	}
	at, ever := c.changed[between(a, b)]
	return !ever || c.s.Now()-at >= d
}

// A snapshot is the state of a node at an event.
type snapshot struct {
	event uint64
	state *network.State
}

// stateOf returns the state of a node that is up.
func (s *Sim) stateOf(i int) *network.State {
	for len(s.state) < len(s.nodes) {
		s.state = append(s.state, snapshot{})
	}
	k := &s.state[i]
	if now := s.Events() + 1; k.event != now {
		st := s.nodes[i].State()
		k.event, k.state = now, &st
	}
	return k.state
}

// index returns the index of the node with an ID, -1 if there is none.
func (s *Sim) index(id identity.NodeID) int {
	if s.byID == nil || len(s.byID) != len(s.nodes) {
		s.byID = make(map[identity.NodeID]int, len(s.nodes))
		for _, n := range s.nodes {
			s.byID[n.Key.ID()] = n.Index
		}
	}
	if i, ok := s.byID[id]; ok {
		return i
	}
	return -1
}

// connOf returns the connection of a node with an ID, nil if it is not open.
func connOf(st *network.State, id identity.ConnID) *network.ConnState {
	for i := range st.Conns {
		if st.Conns[i].ID == id {
			return &st.Conns[i]
		}
	}
	return nil
}

// otherEnd returns the connection of a node that is the other end of c, nil if
// the node has none.
func otherEnd(st *network.State, c *network.ConnState) *network.ConnState {
	for i := range st.Conns {
		if o := &st.Conns[i]; o.Local == c.Remote && o.Remote == c.Local {
			return o
		}
	}
	return nil
}
