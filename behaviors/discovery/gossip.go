package discovery

import (
	"errors"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// maxAlternatives bounds the connections that are remembered to have a record
// which another one was asked for.
const maxAlternatives = 3

// A want is a record that was announced and is not here yet. The first of
// sources is, or will be, asked for it; the others are asked if it fails.
type want struct{ sources []identity.ConnID }

// A news is a record to announce at the next tick, except to those that are
// known to have it.
type news struct {
	print fingerprint
	have  []identity.ConnID
}

// receive looks at one record of a message from l. It does what is cheap first.
// The answer is false if the neighbour has shown that it is none to listen to.
func (d *Discovery) receive(a *agent.Behavior, l *link, b []byte, age time.Duration, now time.Time) bool {
	fp := fingerprintOf(b)
	delete(d.wants, fp)
	if d.knows(fp) {
		d.stats.Stale++
		return true
	}
	r, err := peekRecord(b)
	if err != nil {
		d.stats.Refused++
		return true
	}
	known := d.store.nodes[r.id]
	switch {
	case r.id == d.self:
		return d.refute(a, l, r, b, now)
	case known != nil && r.sequence <= known.sequence:
		d.stats.Stale++
		if l.info.Node == r.id && r.sequence < known.sequence {
			// Its clock is behind what it once said: it must learn of that.
			d.send(a, l, kindRecords, appendEntry([]byte{0}, known.bytes, now.Sub(known.born)))
		}
		return true
	case r.lifetime > 0 && age >= r.lifetime, known == nil && r.lifetime == 0:
		d.stats.Stale++
		return true
	case (known == nil || known.dead) && d.store.live >= d.config.MaxNodes:
		d.stats.Dropped++
		return true
	}
	if r, err = decodeRecord(b); err != nil {
		d.stats.Refused++
		return true
	}
	if err := verifyRecord(a.Context(), b, r.id); err != nil {
		return d.forged(a, l, err)
	}
	d.accept(r, b, age, l, now)
	return true
}

// accept takes a verified record in and passes it on at the next tick.
func (d *Discovery) accept(r record, b []byte, age time.Duration, l *link, now time.Time) {
	n, changed := d.store.put(r, b, age, now)
	d.stats.Accepted++
	d.announce(n.print, l.info.ID, changed)
	if changed {
		d.tell(n)
		if s := d.dials[n.id]; s != nil { // it lives, or has moved: what failed may work now
			s.fails, s.next = 0, now
		}
	}
	d.known.Store(int64(d.store.live))
}

// forged ends the connection to a neighbour that passed on a record with a
// wrong signature: an honest one would have checked it.
func (d *Discovery) forged(a *agent.Behavior, l *link, err error) bool {
	d.stats.Forged++
	l.barred = true
	d.close(a, l, &conn.CloseError{Code: conn.CodeProtocol, Reason: err.Error()})
	return false
}

// refute answers a record of this node that this node has not issued in this
// life: the own sequence must be above it for others to believe.
func (d *Discovery) refute(a *agent.Behavior, l *link, r record, b []byte, now time.Time) bool {
	if d.config.Key.IsZero() || r.sequence < d.own.sequence || d.own.bytes != nil && slices.Equal(b, d.own.bytes) {
		d.stats.Stale++
		return true
	}
	if !d.refuted.IsZero() && now.Sub(d.refuted) < d.config.TTL/6 {
		return true // two nodes with one key must not outbid each other for ever
	}
	if err := verifyRecord(a.Context(), b, d.self); err != nil {
		return d.forged(a, l, err)
	}
	d.refuted = now
	d.own.sequence = r.sequence
	d.issue(a, now, true)
	return true
}

// knows reports whether fp is of a record that is here, or was until lately.
func (d *Discovery) knows(fp fingerprint) bool {
	return d.store.prints[fp] != nil || fp == d.own.print || fp == d.own.before
}

// announce puts a record among the news. from, if not zero, has it. Changes are
// told at the next tick; renewals wait for company.
func (d *Discovery) announce(fp fingerprint, from identity.ConnID, change bool) {
	d.urgent = d.urgent || change
	n := &news{print: fp, have: []identity.ConnID{from}}
	d.news = append(d.news, n)
	d.newsBy[fp] = n
}

// flushNews tells each neighbour of the news that it may not have.
func (d *Discovery) flushNews(a *agent.Behavior, now time.Time) {
	if len(d.news) == 0 || !d.urgent && now.Sub(d.flushed) < d.config.TTL/renewalBatches {
		return
	}
	d.urgent, d.flushed = false, now
	for _, l := range d.links {
		var fps []fingerprint
		for _, n := range d.news {
			if !slices.Contains(n.have, l.info.ID) {
				fps = append(fps, n.print)
			}
		}
		if len(fps) > 0 && !d.sendPrints(a, l, fps, 0) {
			l.resync = true
		}
	}
	d.news = d.news[:0]
	clear(d.newsBy)
}

// sendPrints announces fingerprints in pages, the last of them with flags.
func (d *Discovery) sendPrints(a *agent.Behavior, l *link, fps []fingerprint, flags byte) bool {
	for page := range slices.Chunk(fps, pageEntries) {
		head := byte(0)
		if len(page) < pageEntries || &page[len(page)-1] == &fps[len(fps)-1] {
			head = flags
		}
		if !d.send(a, l, kindAnnounce, appendFingerprints([]byte{head}, page)) {
			return false
		}
	}
	return true
}

// announceAll announces everything known to a neighbour. If reply is set, the
// neighbour does the same in return.
func (d *Discovery) announceAll(a *agent.Behavior, l *link, reply bool, now time.Time) {
	fps := make([]fingerprint, 0, d.store.live+1)
	if d.own.bytes != nil {
		fps = append(fps, d.own.print)
	}
	for _, n := range d.store.sorted(isLive) {
		if n.id != l.info.Node {
			fps = append(fps, n.print)
		}
	}
	flags := byte(0)
	if reply {
		flags = flagReply
	}
	l.synced = now
	l.resync = len(fps) > 0 && !d.sendPrints(a, l, fps, flags)
}

// onAnnounce asks for what is not here.
func (d *Discovery) onAnnounce(a *agent.Behavior, l *link, payload []byte, now time.Time) error {
	if len(payload) == 0 || len(payload) > maxMessage {
		return errMessage
	}
	fps, err := decodeFingerprints(payload[1:], pageEntries)
	if err != nil {
		return err
	}
	for _, fp := range fps {
		if n := d.newsBy[fp]; n != nil {
			n.have = append(n.have, l.info.ID)
		}
		if d.knows(fp) {
			continue
		}
		if w := d.wants[fp]; w != nil {
			if len(w.sources) <= maxAlternatives && !slices.Contains(w.sources, l.info.ID) {
				w.sources = append(w.sources, l.info.ID)
			}
			continue
		}
		if len(l.queue) >= d.config.MaxNodes || len(d.wants) >= 2*d.config.MaxNodes {
			d.stats.Dropped++
			continue
		}
		d.wants[fp] = &want{sources: []identity.ConnID{l.info.ID}}
		l.queue = append(l.queue, fp)
	}
	d.pump(a, l, now)
	if payload[0]&flagReply != 0 && now.Sub(l.replied) >= d.config.AntiEntropy/2 {
		l.replied = now
		d.announceAll(a, l, false, now)
	}
	return nil
}

// pump sends the next request to a neighbour, if the last one is answered. One
// request at a time bounds what an answer can queue.
func (d *Discovery) pump(a *agent.Behavior, l *link, now time.Time) {
	if len(l.asked) > 0 {
		return
	}
	for len(l.queue) > 0 && len(l.asked) < maxRequest {
		fp := l.queue[0]
		l.queue = l.queue[1:]
		if w := d.wants[fp]; w != nil && w.sources[0] == l.info.ID {
			l.asked = append(l.asked, fp)
		}
	}
	if len(l.asked) > 0 {
		l.deadline = now.Add(askPatience)
		d.send(a, l, kindRequest, appendFingerprints(nil, l.asked)) // if it fails, the deadline passes
	}
}

// onRequest sends the records that a neighbour asks for, as far as they are
// here, and marks the end of the answer.
func (d *Discovery) onRequest(a *agent.Behavior, l *link, payload []byte, now time.Time) error {
	fps, err := decodeFingerprints(payload, maxRequest)
	if err != nil {
		return err
	}
	page := []byte{0}
	for _, fp := range fps {
		b, age := d.lookup(fp, now)
		if b == nil {
			continue
		}
		if len(page)+entryHeader+len(b) > pageBytes {
			if !d.send(a, l, kindRecords, page) {
				return nil // the neighbour reads slowly, and asks again or elsewhere
			}
			page = []byte{0}
		}
		page = appendEntry(page, b, age)
	}
	page[0] = flagEnd
	d.send(a, l, kindRecords, page)
	return nil
}

// lookup finds a record by its current fingerprint.
func (d *Discovery) lookup(fp fingerprint, now time.Time) ([]byte, time.Duration) {
	if fp == d.own.print && d.own.bytes != nil {
		return d.own.bytes, now.Sub(d.own.issued)
	}
	n := d.store.prints[fp]
	if n == nil || n.print != fp || n.dead && !n.left {
		return nil, 0
	}
	return n.bytes, now.Sub(n.born)
}

// onRecords takes in the records of a message.
func (d *Discovery) onRecords(a *agent.Behavior, l *link, payload []byte, now time.Time) error {
	flags, err := decodeRecords(payload, func(b []byte, age time.Duration) bool {
		return d.receive(a, l, b, age, now)
	})
	if err != nil {
		return err
	}
	if flags&flagEnd != 0 && !l.barred {
		d.giveUp(a, l, l.takeAsked(), now)
		d.pump(a, l, now)
	}
	return nil
}

// giveUp asks others for what l was asked for and has not sent.
func (d *Discovery) giveUp(a *agent.Behavior, l *link, fps []fingerprint, now time.Time) {
	var again []*link
	for _, fp := range fps {
		w := d.wants[fp]
		if w == nil || w.sources[0] != l.info.ID {
			continue
		}
		w.sources = w.sources[1:]
		for len(w.sources) > 0 && d.linkOf(w.sources[0]) == nil {
			w.sources = w.sources[1:]
		}
		if len(w.sources) == 0 {
			delete(d.wants, fp)
			continue
		}
		other := d.linkOf(w.sources[0])
		other.queue = append(other.queue, fp)
		if !slices.Contains(again, other) {
			again = append(again, other)
		}
	}
	for _, other := range again {
		d.pump(a, other, now)
	}
}

// onDigest announces everything to a neighbour that knows something else.
func (d *Discovery) onDigest(a *agent.Behavior, l *link, payload []byte, now time.Time) error {
	theirs, err := decodeDigest(payload)
	if err == nil && theirs != d.digest() && now.Sub(l.synced) >= d.config.AntiEntropy/2 {
		d.stats.Repairs++
		d.announceAll(a, l, true, now)
	}
	return err
}

// digest describes all that this node knows.
func (d *Discovery) digest() digest {
	g := digest{count: uint32(d.store.live), hash: d.store.hash}
	if d.own.bytes != nil {
		g.count++
		g.hash ^= d.own.content
	}
	return g
}

// repair does what keeps gossip whole: it gives up requests that were not
// answered, repeats announcements that found a full queue, and compares with
// one neighbour at each interval.
func (d *Discovery) repair(a *agent.Behavior, now time.Time) {
	for _, l := range d.links {
		if len(l.asked) > 0 && !now.Before(l.deadline) {
			fps := append(l.takeAsked(), l.queue...)
			l.queue = nil
			d.giveUp(a, l, fps, now)
		}
		if l.resync && now.Sub(l.synced) >= time.Second {
			d.announceAll(a, l, false, now)
		}
	}
	if len(d.links) > 0 && now.Sub(d.compared) >= d.config.AntiEntropy {
		d.compared = now
		d.turn++
		d.send(a, d.links[d.turn%len(d.links)], kindDigest, d.digest().append(nil))
	}
}

// send sends a message on a connection and counts it.
func (d *Discovery) send(a *agent.Behavior, l *link, kind conn.Kind, payload []byte) bool {
	err := a.Send(router.ToConn(l.info.ID), kind, payload)
	if err != nil {
		d.stats.Unsent++
		if !errors.Is(err, agent.ErrQueueFull) && !errors.Is(err, agent.ErrNoConn) {
			a.Log().Debug("discovery: message not sent", "conn", l.info.ID, "kind", kind, "err", err)
		}
		return false
	}
	d.stats.Sent++
	d.stats.SentBytes += uint64(len(payload))
	return true
}
