package state

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/router"
)

// What the behaviour spends on a peer, in all and at once. What exceeds it is
// left to a later round.
const (
	verifyRate  = 4000    // signatures checked per second
	verifyBurst = 4096    // and at once
	forgedCost  = 64      // what a bad signature counts
	replyRate   = 4 << 20 // bytes sent per second because the peer asked
	replyBurst  = 4 << 20 // and at once
	walkCost    = 8       // what comparing one entry counts, in bytes

	maxForward = 256 << 10 // bytes of others' entries passed on to a peer at a time
)

// turn is what only the behaviour's callbacks use.
type turn struct {
	peers   map[identity.ConnID]*peer
	roundAt time.Time // when the next round of anti-entropy is due
	pull    pull
	started Stamp // entries from before this node started are not passed on: others have them
}

// A peer is a connection to a node that has the service.
type peer struct {
	info   conn.Info
	verify budget // signatures
	reply  budget // bytes
}

// A budget is a token bucket.
type budget struct {
	rate, burst, left float64
	at                time.Time
}

func newBudget(rate, burst float64, now time.Time) budget { return budget{rate, burst, burst, now} }

// take spends n, or reports that it is not there. What was spent without asking
// must be earned first.
func (b *budget) take(n float64, now time.Time) bool {
	if d := now.Sub(b.at); d > 0 {
		b.left = min(b.burst, b.left+d.Seconds()*b.rate)
		b.at = now
	}
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

// Events of the behaviour's own timers.
type (
	flushEvent struct{}
	roundEvent struct{}
)

var (
	_ behavior.Describer     = (*State)(nil)
	_ behavior.Starter       = (*State)(nil)
	_ behavior.Stopper       = (*State)(nil)
	_ behavior.Connector     = (*State)(nil)
	_ behavior.Disconnector  = (*State)(nil)
	_ behavior.EventReceiver = (*State)(nil)
)

// Describe names the service.
func (s *State) Describe() behavior.Info { return behavior.Info{Name: Name, Version: version} }

// OnStart begins anti-entropy. It fails if the configuration is not valid.
func (s *State) OnStart(a *agent.Behavior) error {
	if s.err != nil {
		return s.err
	}
	s.mu.Lock()
	s.stopped, s.flushAt = false, time.Time{}
	s.turn = turn{peers: make(map[identity.ConnID]*peer), started: stampOf(a.Now())}
	s.mu.Unlock()
	s.agent.Store(a)
	s.schedule(a, a.Now())
	return nil
}

// OnStop pushes what has not been pushed yet, and ends waiting watchers. What
// is held can still be read.
func (s *State) OnStop(a *agent.Behavior) {
	s.agent.Store(nil)
	s.flush(a)
	s.mu.Lock()
	s.stopped = true
	for _, w := range s.watchers {
		w.wake()
	}
	s.mu.Unlock()
}

// OnConnect compares replicas with the new peer. The node that dialled begins.
func (s *State) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	now := a.Now()
	p := &peer{c, newBudget(verifyRate, verifyBurst, now), newBudget(replyRate, replyBurst, now)}
	s.peers[c.ID] = p
	if c.Direction != conn.Incoming {
		s.begin(a, p, now)
	}
	return nil
}

// OnDisconnect forgets the peer.
func (s *State) OnDisconnect(_ *agent.Behavior, c conn.Info, _ error) {
	delete(s.peers, c.ID)
	s.pull.done(c.ID)
}

// OnEvent pushes what is due, or begins a round of anti-entropy.
func (s *State) OnEvent(a *agent.Behavior, _ conn.Info, ev any) {
	switch ev.(type) {
	case flushEvent:
		s.flush(a)
		s.deliver(a)
	case roundEvent:
		now := a.Now()
		s.schedule(a, now)
		s.round(a, now)
		s.flush(a) // in case its timer got lost
		s.deliver(a)
	}
}

// OnMessage takes part in the protocol. Anything that is not part of it is
// counted and ignored.
func (s *State) OnMessage(a *agent.Behavior, m *conn.Message) {
	p := s.peers[m.Conn]
	if p == nil || p.info.Node != m.From {
		s.bump(&s.stats.Stray)
		return
	}
	now := a.Now()
	var err error
	switch m.Kind {
	case kindEntries:
		err = s.onEntries(a, p, m.Payload, now)
	case kindRoot:
		err = s.onRoot(a, p, m.Payload, now)
	case kindBuckets:
		err = s.onBuckets(a, p, m.Payload, now)
	case kindItems:
		err = s.onItems(a, p, m.Payload, now)
	case kindWant:
		err = s.onWant(a, p, m.Payload, now)
	default:
		err = errMalformed
	}
	s.bad(err)
	if now.Sub(s.roundAt) > s.cfg.Interval {
		s.schedule(a, now) // its timer got lost
	}
}

// bad counts what could not be read.
func (s *State) bad(err error) {
	switch {
	case errors.Is(err, errVersion):
		s.bump(&s.stats.Version)
	case err != nil:
		s.bump(&s.stats.Malformed)
	}
}

// onEntries takes what is new of a page of entries.
func (s *State) onEntries(a *agent.Behavior, p *peer, payload []byte, now time.Time) error {
	page, err := parseEntries(payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.store.prune(now)
	s.mu.Unlock()
	for raw, ok := range page.all() {
		if !ok {
			err = errMalformed
			break
		}
		if !s.take(a, p, raw, now) {
			break
		}
	}
	s.arm(a, now)
	s.deliver(a)
	s.resume(a, p, page, now)
	return err
}

// take takes an entry if it is new and right; what is cheap is checked first.
// It reports whether the rest of the page is worth a look.
func (s *State) take(a *agent.Behavior, p *peer, raw []byte, now time.Time) bool {
	e, err := parseEntry(raw)
	if err != nil {
		s.bad(err)
		return true
	}
	if s.cfg.Allow != nil && !s.cfg.Allow(e.writer, e.key) {
		s.bump(&s.stats.Denied)
		return true
	}
	s.mu.RLock()
	err = s.store.check(&e, now)
	s.mu.RUnlock()
	if err != nil {
		s.refused(err)
		return true
	}
	if !p.verify.take(1, now) {
		s.bump(&s.stats.Throttled)
		return false
	}
	if !env.Checked(a.Context(), func() bool { return e.verify(s.verify, s.cfg.Domain) }, []byte(s.cfg.Domain), raw) {
		// Nobody passes on what is not signed: the peer is at fault.
		p.verify.left -= forgedCost
		s.bump(&s.stats.Forged)
		return false
	}
	kept := e.keep()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store.check(kept, now) != nil {
		s.stats.Stale++ // this node wrote the key at the same moment
		return true
	}
	s.put(kept, p.info.ID, now)
	s.stats.Accepted++
	if s.store.clock.ahead(kept.stamp, now) {
		s.stats.Ahead++
	}
	return true
}

// refused counts an entry that was not taken.
func (s *State) refused(err error) {
	switch {
	case errors.Is(err, errOutdated):
		s.bump(&s.stats.Stale)
	case errors.Is(err, errExpired):
		s.bump(&s.stats.Expired)
	default:
		s.bump(&s.stats.Overflow)
	}
}

// arm sees to it that flush is called within Config.Batch, if there is anything
// to do. It may be called from any goroutine.
func (s *State) arm(a *agent.Behavior, now time.Time) {
	s.mu.Lock()
	idle := len(s.outbox) == 0 && len(s.changed.keys) == 0
	armed := !s.flushAt.IsZero() && now.Sub(s.flushAt) < s.cfg.Interval // else its timer got lost
	if !idle && !armed {
		s.flushAt = now.Add(s.cfg.Batch)
	}
	s.mu.Unlock()
	if idle || armed {
		return
	}
	if a.After(s.cfg.Batch, flushEvent{}) == (agent.Timer{}) {
		s.mu.Lock()
		s.flushAt = time.Time{}
		s.mu.Unlock()
	}
}

// outgoing is an entry to push.
type outgoing struct {
	*entry
	from identity.ConnID
}

// flush pushes what is in the outbox: writes of this node to every peer, those
// of others to some, but never back to where they came from.
func (s *State) flush(a *agent.Behavior) {
	local, others := s.takeOutbox()
	if len(local)+len(others) == 0 || len(s.peers) == 0 {
		return
	}
	peers := s.shuffled(a)
	passTo := peers[:min(s.cfg.Fanout, len(peers))]
	if len(local) > 0 {
		pages := pack(local, func(outgoing) bool { return true })
		for _, p := range peers {
			s.push(a, p, pages)
		}
	}
	if len(others) == 0 {
		return
	}
	for _, p := range passTo {
		size := 0
		s.push(a, p, pack(others, func(o outgoing) bool {
			if o.from == p.info.ID || o.writer == p.info.Node || size+o.size() > maxForward {
				return false // anti-entropy brings the rest
			}
			size += o.size()
			return true
		}))
	}
}

func (s *State) takeOutbox() (local, others []outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushAt = time.Time{}
	if len(s.outbox) == 0 {
		return nil, nil
	}
	for _, key := range slices.Sorted(maps.Keys(s.outbox)) {
		e, from := s.store.entries[key], s.outbox[key]
		switch {
		case e == nil: // forgotten meanwhile
		case from == 0:
			local = append(local, outgoing{e, from})
		default:
			others = append(others, outgoing{e, from})
		}
	}
	clear(s.outbox)
	return local, others
}

// pack fills messages with the entries that pass.
func pack(entries []outgoing, pass func(outgoing) bool) (pages [][]byte) {
	var w entriesWriter
	for _, o := range entries {
		if !pass(o) {
			continue
		}
		if !w.add(o.raw) {
			pages = append(pages, w.buf)
			w = entriesWriter{}
			w.add(o.raw)
		}
	}
	if w.n > 0 {
		pages = append(pages, w.buf)
	}
	return pages
}

// push sends pages to a peer as long as the connection takes them.
func (s *State) push(a *agent.Behavior, p *peer, pages [][]byte) {
	for _, page := range pages {
		if !s.send(a, p, kindEntries, page) {
			return
		}
	}
}

// send sends a message, or counts that the connection does not take it.
func (s *State) send(a *agent.Behavior, p *peer, kind conn.Kind, payload []byte) bool {
	err := a.Send(router.ToConn(p.info.ID), kind, payload)
	if err != nil {
		s.bump(&s.stats.Unsent)
	}
	return err == nil
}

// shuffled returns the peers in random order.
func (s *State) shuffled(a *agent.Behavior) []*peer {
	peers := slices.SortedFunc(maps.Values(s.peers), func(p, q *peer) int { return cmp.Compare(p.info.ID, q.info.ID) })
	a.Rand().Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	return peers
}
