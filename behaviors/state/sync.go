package state

import (
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Anti-entropy: what pushing has missed is found and repaired by comparing
// replicas, at ever finer grain. No step needs the memory of an earlier one.
//
//	A                              B
//	  ---- root ---------------->      equal: done, at 33 bytes
//	  <--- buckets --------------      256 hashes
//	  ---- items --------------->      of the buckets that differ: key hash,
//	                                   stamp, start of the entry's hash
//	  <--- entries --------------      where B's is newer, or A has none
//	  <--- want -----------------      where A's is newer, or B has none
//	  ---- entries ------------->
//
// An answer that is too long ends with the span that it has not finished, and
// the receiver sends its items of that span.

const (
	maxAnswer = 256 << 10 // bytes of entries in answer to one message
	maxPages  = 4         // messages of items in answer to one message
	pullSlots = 10        // intervals that one peer may be pulled from while others wait
)

// pull makes sure that a replica that lacks much is filled by one peer at a
// time, instead of by all at once with the same.
type pull struct {
	conn  identity.ConnID
	until time.Time // free from then on
	limit time.Time // another's turn from then on
}

// may reports whether to pull from a connection, and if so reserves an interval
// for that.
func (p *pull) may(id identity.ConnID, now time.Time, interval time.Duration) bool {
	switch {
	case p.conn != id && now.Before(p.until):
		return false
	case p.conn != id || !now.Before(p.limit.Add(interval)):
		p.conn, p.limit = id, now.Add(pullSlots*interval)
	case !now.Before(p.limit):
		return false
	}
	p.until = now.Add(interval)
	if p.until.After(p.limit) {
		p.until = p.limit
	}
	return true
}

// done frees the reservation of a connection.
func (p *pull) done(id identity.ConnID) {
	if p.conn == id {
		p.until = time.Time{}
	}
}

// schedule sets the timer of the next round.
func (s *State) schedule(a *agent.Behavior, now time.Time) {
	d := time.Duration(float64(s.cfg.Interval) * (0.8 + 0.4*a.Rand().Float64()))
	s.roundAt = now.Add(d)
	a.After(d, roundEvent{})
}

// round compares replicas with one random peer.
func (s *State) round(a *agent.Behavior, now time.Time) {
	for _, p := range s.shuffled(a) {
		if s.begin(a, p, now) {
			return
		}
	}
}

// begin asks a peer whether the replicas differ.
func (s *State) begin(a *agent.Behavior, p *peer, now time.Time) bool {
	s.mu.Lock()
	s.store.prune(now)
	root := s.store.rootSum()
	s.mu.Unlock()
	if !s.send(a, p, kindRoot, appendRoot(nil, root)) {
		return false
	}
	s.bump(&s.stats.Rounds)
	return true
}

// answer sends what a peer has asked for, within its budget.
func (s *State) answer(a *agent.Behavior, p *peer, kind conn.Kind, payload []byte, now time.Time) bool {
	if !p.reply.take(float64(len(payload)), now) {
		s.bump(&s.stats.Throttled)
		return false
	}
	return s.send(a, p, kind, payload)
}

func (s *State) onRoot(a *agent.Behavior, p *peer, payload []byte, now time.Time) error {
	theirs, err := parseRoot(payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.store.prune(now)
	equal := s.store.rootSum() == theirs
	sums := s.store.sums()
	if equal {
		s.stats.Equal++
	}
	s.mu.Unlock()
	if !equal {
		s.answer(a, p, kindBuckets, appendBuckets(nil, sums), now)
	}
	return nil
}

func (s *State) onBuckets(a *agent.Behavior, p *peer, payload []byte, now time.Time) error {
	theirs, err := parseBuckets(payload)
	if err != nil {
		return err
	}
	if !s.pull.may(p.info.ID, now, s.cfg.Interval) {
		s.bump(&s.stats.Throttled)
		return nil
	}
	s.mu.Lock()
	s.store.prune(now)
	ours := s.store.sums()
	s.mu.Unlock()
	var spans []span
	first := a.Rand().IntN(buckets) // where to begin, so that no bucket waits for ever behind others
	for i := range buckets {
		n := (first + i) % buckets
		switch {
		case ours[n] == theirs[n]:
		case i > 0 && n > 0 && ours[n-1] != theirs[n-1]:
			spans[len(spans)-1].to = bucketSpan(n, n).to
		default:
			spans = append(spans, bucketSpan(n, n))
		}
	}
	s.sendItems(a, p, spans, maxPages, now)
	return nil
}

// sendItems tells a peer all that is held in some spans, or in as many of them
// as fit in so many messages.
func (s *State) sendItems(a *agent.Behavior, p *peer, spans []span, pages int, now time.Time) {
	s.mu.RLock()
	messages := s.store.itemPages(spans, pages)
	s.mu.RUnlock()
	for _, m := range messages {
		if !s.answer(a, p, kindItems, m, now) {
			return
		}
	}
}

// itemPages returns messages with the items of spans, at most so many.
func (s *store) itemPages(spans []span, pages int) (messages [][]byte) {
	w := newItemsWriter(s.full())
	next := func() { // begins another message
		messages = append(messages, w.buf)
		w = newItemsWriter(s.full())
	}
	for i, sp := range spans {
		if i > 0 && sp.from.compare(spans[i-1].to) < 0 || !w.open(sp.from) {
			next() // spans ascend within a message
			w.open(sp.from)
		}
		for e := range s.in(sp) {
			if len(messages) == pages {
				return messages
			}
			if !w.add(itemOf(e)) {
				w.close(e.hash.before())
				next()
				w.open(e.hash)
				w.add(itemOf(e))
			}
		}
		w.close(sp.to)
	}
	if !w.empty() {
		messages = append(messages, w.buf)
	}
	return messages[:min(len(messages), pages)]
}

// before returns the hash before h, which is not the first.
func (h keyHash) before() keyHash {
	for i := len(h) - 1; i >= 0; i-- {
		h[i]--
		if h[i] != 0xff {
			break
		}
	}
	return h
}

// A difference is what one replica has to do about what another has.
type difference struct {
	give  []*entry  // the other lacks these
	want  []keyHash // this one lacks these
	more  bool
	rest  span // not compared, if more
	steps int  // what it has cost
}

// compare finds how s differs from what a peer says that it has. It stops where
// it has found as much as one answer can hold.
func (s *store) compare(full bool, spans []spanItems) (d difference) {
	size, ourFull := 0, s.full()
	give := func(e *entry) bool {
		if size += e.size(); size > maxAnswer && len(d.give) > 0 {
			d.more, d.rest = true, span{e.hash, spans[len(spans)-1].to}
			return false
		}
		d.give = append(d.give, e)
		return true
	}
	want := func(it item, have bool) {
		if have || !ourFull {
			d.want = append(d.want, it.hash)
		}
	}
	for _, sp := range spans {
		items := sp.items
		for e := range s.in(sp.span) {
			d.steps++
			for len(items) > 0 && items[0].hash.compare(e.hash) < 0 {
				want(items[0], false)
				items = items[1:]
			}
			var it item
			has := len(items) > 0 && items[0].hash == e.hash
			if has {
				it, items = items[0], items[1:]
			}
			ours := itemOf(e)
			// Different entries with one stamp are exchanged both ways.
			if (has && it != ours && it.stamp <= ours.stamp || !has && !full) && !give(e) {
				return d
			}
			if has && it != ours && it.stamp >= ours.stamp {
				want(it, true)
			}
		}
		for _, it := range items {
			want(it, false)
		}
	}
	return d
}

func (s *State) onItems(a *agent.Behavior, p *peer, payload []byte, now time.Time) error {
	full, spans, err := parseItems(payload)
	if err != nil || len(spans) == 0 {
		return err
	}
	if !p.reply.take(0, now) {
		s.bump(&s.stats.Throttled)
		return nil
	}
	s.mu.Lock()
	s.store.prune(now)
	d := s.store.compare(full, spans)
	s.mu.Unlock()
	p.reply.left -= float64(walkCost * d.steps)
	s.sendEntries(a, p, d, now)
	if len(d.want) > 0 && s.pull.may(p.info.ID, now, s.cfg.Interval) {
		s.answer(a, p, kindWant, appendWant(nil, d.want), now)
	}
	return nil
}

func (s *State) onWant(a *agent.Behavior, p *peer, payload []byte, now time.Time) error {
	want, err := parseWant(payload)
	if err != nil {
		return err
	}
	var d difference
	size := 0
	s.mu.RLock()
	for _, h := range want {
		e := s.store.find(h)
		if e == nil {
			continue
		}
		if size += e.size(); size > maxAnswer && len(d.give) > 0 {
			d.more, d.rest = true, span{h, want[len(want)-1]}
			break
		}
		d.give = append(d.give, e)
	}
	s.mu.RUnlock()
	s.sendEntries(a, p, d, now)
	return nil
}

// sendEntries sends what a peer lacks, and on the last page where that ends.
func (s *State) sendEntries(a *agent.Behavior, p *peer, d difference, now time.Time) {
	var w entriesWriter
	for _, e := range d.give {
		if w.add(e.raw) {
			continue
		}
		if !s.answer(a, p, kindEntries, w.buf, now) {
			return
		}
		w = entriesWriter{}
		w.add(e.raw)
	}
	if d.more {
		w.more(d.rest)
	} else {
		w.done()
	}
	s.answer(a, p, kindEntries, w.buf, now)
}

// resume asks for the rest of an answer that was too long.
func (s *State) resume(a *agent.Behavior, p *peer, page entriesPage, now time.Time) {
	if page.done {
		s.pull.done(p.info.ID)
	}
	if !page.more {
		return
	}
	if !s.pull.may(p.info.ID, now, s.cfg.Interval) {
		s.bump(&s.stats.Throttled)
		return
	}
	s.sendItems(a, p, []span{page.rest}, 1, now)
}
