package testnet

import (
	"cmp"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
)

// NoLeaks promises that connections and dials do not outlive their use:
//
//   - a node has at most one connection to another;
//   - what is open at one end and not at the other is closed within
//     Limits.IdleTime, so that nobody has connections to the dead for longer;
//   - what the transport holds is a connection of the node, or an attempt to
//     open one that is younger than Limits.HandshakeTime;
//   - a dial ends within Limits.DialTime.
//
// It is for Always; all limits are stretched by 5 s, and nodes that pause or are
// slow are left alone. Not for networks of which a Limit is set to more than a
// few minutes.
func NoLeaks() Invariant {
	return Invariant{"no connection leaks", func(s *Sim) Watch {
		l := newLeaks(s)
		return Watch{Event: l.event, Check: l.check}
	}}
}

func newLeaks(s *Sim) *leaks {
	limits := &s.scenario.Limits
	return &leaks{s: s, health: s.health(), dials: make(map[dialKey]time.Duration), dialled: make(map[placeKey]time.Duration),
		idle:    max(cmp.Or(limits.IdleTime, 15*time.Second), s.scenario.renewal()) + slack,
		opening: cmp.Or(limits.HandshakeTime, 10*time.Second) + slack,
		dial:    cmp.Or(limits.DialTime, 20*time.Second) + slack}
}

// leaks watches for NoLeaks. Maps say since when something is as it should not
// remain.
type leaks struct {
	s      *Sim
	health *conditions
	// How long a half of a connection may live, opening one and a dial may take.
	idle, opening, dial time.Duration

	halves  overdue // connections of which the other end is missing
	orphans overdue // those of the transport that the node does not have
	dials   map[dialKey]time.Duration
	dialled map[placeKey]time.Duration // when somebody last dialled somebody
}

// overdue says since when connections are as they should not remain.
type overdue struct{ before, now map[lineKey]time.Duration }

type lineKey struct {
	node          int
	local, remote identity.Address
	made          int64 // addresses come again
}

// note takes down that a connection is as it should not remain, and returns for
// how long it has been so, at every look.
func (o *overdue) note(key lineKey, now time.Duration) time.Duration {
	since, known := o.before[key]
	if !known {
		since = now
	}
	o.now[key] = since
	return now - since
}

// turn begins another look.
func (o *overdue) turn() { o.before, o.now = o.now, make(map[lineKey]time.Duration) }

type dialKey struct{ from, to int }

type placeKey struct {
	from  int
	place string
}

// slack is what NoLeaks adds to limits.
const slack = 5 * time.Second

func (l *leaks) event(e *Event) error {
	if e.Kind == EventDial {
		l.dialled[placeKey{e.Node, e.Name}] = e.At
	}
	return nil
}

func (l *leaks) check() error {
	l.halves.turn()
	l.orphans.turn()
	for i := range l.s.nodes {
		if !l.s.Up(i) {
			continue
		}
		st := l.s.stateOf(i)
		if err := l.conns(i, st); err != nil {
			return err
		}
		if err := l.lines(i, st); err != nil {
			return err
		}
		if err := l.dialling(i, st); err != nil {
			return err
		}
	}
	return nil
}

// conns looks for connections that only one end has.
func (l *leaks) conns(i int, st *network.State) error {
	seen := make(map[identity.NodeID]bool)
	for k := range st.Conns {
		c := &st.Conns[k]
		to := l.s.index(c.Node)
		if seen[c.Node] {
			return concerning([]int{i, to}, 0, "node %d has two connections to node %d", i, to)
		}
		seen[c.Node] = true
		if to >= 0 && l.s.Up(to) && otherEnd(l.s.stateOf(to), c) != nil {
			continue
		}
		if d := l.halves.note(lineKey{i, c.Local, c.Remote, c.Opened.UnixNano()}, l.s.Now()); d > l.idle && l.health.steady(i, l.idle) {
			return concerning([]int{i, to}, 0, "node %d has had connection %d, to node %d, for %v without the other end", i, c.ID, to, d)
		}
	}
	return nil
}

// lines looks for connections of the transport that the node does not have.
func (l *leaks) lines(i int, st *network.State) error {
	for _, line := range l.s.host(i).Lines() {
		if known(st, line.Local, line.Remote) {
			continue
		}
		if d := l.orphans.note(lineKey{i, line.Local, line.Remote, int64(line.Since)}, l.s.Now()); d > slack && l.s.Now()-line.Since > l.opening && l.health.steady(i, l.opening) {
			return concerning([]int{i, line.Peer}, 0, "node %d holds a connection to node %d, made at %v, that is none of its connections", i, line.Peer, line.Since)
		}
	}
	return nil
}

func known(st *network.State, local, remote identity.Address) bool {
	for k := range st.Conns {
		if st.Conns[k].Local == local && st.Conns[k].Remote == remote {
			return true
		}
	}
	return false
}

// dialling looks for dials that do not end.
func (l *leaks) dialling(i int, st *network.State) error {
	now := make(map[int]bool)
	for _, id := range st.Dialling {
		to := l.s.index(id)
		if to < 0 {
			continue
		}
		now[to] = true
		key := dialKey{i, to}
		at, ok := l.dials[key]
		if last := l.dialled[placeKey{i, l.s.host(to).Name}]; !ok || last > at {
			at = max(last, l.s.Now()-time.Second)
			l.dials[key] = at
		}
		if d := l.s.Now() - at; d > l.dial && l.health.steady(i, l.dial) {
			return concerning([]int{i, to}, 0, "node %d has dialled node %d for %v", i, to, d)
		}
	}
	for key := range l.dials {
		if key.from == i && !now[key.to] {
			delete(l.dials, key)
		}
	}
	return nil
}
