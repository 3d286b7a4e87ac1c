package discovery

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Service is the default service ID.
const Service identity.ServiceID = 2

// Name is the name of the service.
const Name = "plexus/discovery"

// A Discovery is the behaviour. Make one with [New] for each node. Its exported
// methods, other than the callbacks, may be called from any goroutine.
type Discovery struct {
	config Config
	agent  atomic.Pointer[agent.Behavior]
	known  atomic.Int64

	// What follows belongs to the behaviour's turn.
	self     identity.NodeID
	key      identity.Key
	own      own
	refuted  time.Time
	store    *store
	links    []*link                 // by connection ID
	peers    map[identity.NodeID]int // connections by node
	news     []*news
	newsBy   map[fingerprint]*news
	urgent   bool // some of the news is more than a renewal
	flushed  time.Time
	wants    map[fingerprint]*want
	compared time.Time
	turn     int
	dials    map[identity.NodeID]*dialState
	underway []identity.NodeID // nodes that are being dialled
	replace  map[int]replacement
	healed   time.Time
	healDraw float64
	stopping bool
	stats    Stats
}

// own is this node's record.
type own struct {
	record
	bytes   []byte
	print   fingerprint
	before  fingerprint
	content uint64
	issued  time.Time
	renewal time.Time // when it is due anew
	failed  string    // why it could not be issued, said once
}

// New makes a Discovery.
func New(config Config) *Discovery {
	return &Discovery{
		config:  config.withDefaults(),
		store:   newStore(),
		peers:   make(map[identity.NodeID]int),
		newsBy:  make(map[fingerprint]*news),
		wants:   make(map[fingerprint]*want),
		dials:   make(map[identity.NodeID]*dialState),
		replace: make(map[int]replacement),
	}
}

// A Peer is a node that a Discovery knows to be alive.
type Peer struct {
	ID        identity.NodeID
	Addresses []identity.Address
	Services  []conn.Service
	Renewed   time.Time // when its node last said so, by this node's clock
	Connected bool
}

// Peers returns the known nodes, this one not included, in the order of their
// IDs. It waits for the behaviour's turn and must not be called from a callback.
func (d *Discovery) Peers(ctx context.Context) ([]Peer, error) {
	var peers []Peer
	err := d.do(ctx, func() {
		for _, n := range d.store.sorted(isLive) {
			peers = append(peers, Peer{n.id, slices.Clone(n.addresses), slices.Clone(n.services), n.born, d.linked(n.id)})
		}
	})
	if err != nil {
		return nil, err // f may still run and write to peers
	}
	return peers, nil
}

// Known returns how many nodes are known, this one not included. It never
// blocks.
func (d *Discovery) Known() int { return int(d.known.Load()) }

// Stats counts what a Discovery has done. But for the first three, counters only
// grow.
type Stats struct {
	Known, Dead, Links int

	Sent, SentBytes         uint64 // messages and the bytes of their payloads
	Received, ReceivedBytes uint64
	Unsent                  uint64 // messages that found no room or no connection

	Accepted uint64 // records taken in
	Stale    uint64 // records that were known, or older than what is known
	Refused  uint64 // records and messages that are malformed
	Forged   uint64 // records with a wrong signature
	Dropped  uint64 // records for which a limit left no room
	Repairs  uint64 // digests that differed

	Dials, DialErrors uint64
	Trimmed           uint64 // connections closed since neither end needed them
	Forgotten         uint64 // nodes that left or were not heard of for too long
}

// Stats returns the counters. It waits for the behaviour's turn and must not be
// called from a callback.
func (d *Discovery) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	if err := d.do(ctx, func() { s = d.stats; s.Known, s.Dead, s.Links = d.store.live, d.store.dead(), len(d.links) }); err != nil {
		return Stats{}, err
	}
	return s, nil
}

func (d *Discovery) do(ctx context.Context, f func()) error {
	a := d.agent.Load()
	if a == nil {
		return fmt.Errorf("discovery: not running; register it with a node: %w", agent.ErrStopped)
	}
	return a.Do(ctx, f)
}

// Describe describes the behaviour.
func (d *Discovery) Describe() behavior.Info {
	return behavior.Info{Name: Name, Version: 1, Tick: d.config.Interval}
}

// OnStart issues this node's record and starts to join.
func (d *Discovery) OnStart(a *agent.Behavior) error {
	if err := d.config.checkKey(a.Self()); err != nil {
		return err
	}
	d.self, d.key = a.Self(), a.Self().Key()
	d.store.self = d.key
	now := a.Now()
	d.healed, d.healDraw, d.compared = now, a.Rand().ExpFloat64(), now
	d.agent.Store(a)
	d.renew(a, now)
	d.join(a, now)
	return nil
}

// OnStop tells the neighbours that this node leaves.
func (d *Discovery) OnStop(a *agent.Behavior) {
	d.stopping = true
	if d.own.bytes == nil {
		return
	}
	bye := record{id: d.self, sequence: d.nextSequence(a.Now())}
	b, err := appendRecord(nil, &bye, d.config.Key)
	if err != nil {
		return
	}
	for _, l := range d.links {
		d.send(a, l, kindRecords, appendEntry([]byte{0}, b, 0))
	}
}

// OnTick renews, gossips, forgets, dials and trims.
func (d *Discovery) OnTick(a *agent.Behavior, now time.Time) {
	if d.stopping || d.agent.Load() == nil {
		return
	}
	d.renew(a, now)
	d.forget(now)
	d.flushNews(a, now)
	d.repair(a, now)
	d.seek(a, now)
	d.trim(a, now)
}

// OnConnect tells the new neighbour of this node, and which records there are
// to ask for.
func (d *Discovery) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	now := a.Now()
	l := &link{info: c, key: c.Node.Key()}
	if l.info.Opened.IsZero() {
		l.info.Opened = now
	}
	l.bucket = d.key.CommonPrefix(l.key)
	i, _ := slices.BinarySearchFunc(d.links, c.ID, func(l *link, id identity.ConnID) int { return cmp.Compare(l.info.ID, id) })
	d.links = slices.Insert(d.links, i, l)
	d.peers[c.Node]++
	d.dialled(c.Node)
	if d.own.bytes != nil {
		d.send(a, l, kindRecords, appendEntry([]byte{0}, d.own.bytes, now.Sub(d.own.issued)))
	}
	d.announceAll(a, l, false, now)
	return nil
}

// OnDisconnect forgets the connection and remembers how it went.
func (d *Discovery) OnDisconnect(a *agent.Behavior, c conn.Info, cause error) {
	l := d.linkOf(c.ID)
	if l == nil {
		return
	}
	now := a.Now()
	d.links = slices.DeleteFunc(d.links, func(o *link) bool { return o == l })
	if d.peers[c.Node]--; d.peers[c.Node] <= 0 {
		delete(d.peers, c.Node)
	}
	d.giveUp(a, l, append(l.takeAsked(), l.queue...), now)
	if d.store.nodes[c.Node] == nil && !d.seed(c.Node) {
		return // a stranger: it will not be dialled
	}
	s := d.dialOf(c.Node)
	lasted := now.Sub(l.info.Opened)
	switch {
	case errors.Is(cause, conn.CodeReplaced):
	case (l.dropping || l.agreed) && errors.Is(cause, conn.CodeClosed):
		s.fails, s.avoid = 0, now.Add(avoidTrimmed)
	case lasted < stableAfter || l.barred:
		d.failed(a, c.Node, now)
	default:
		// It may be dead: others are tried first, and not all dial it at once.
		s.fails, s.next = 0, now.Add(d.jitter(a, 2*d.config.Backoff))
	}
}

// OnDialError backs off.
func (d *Discovery) OnDialError(a *agent.Behavior, dial conn.Dial, err error) {
	id := dial.Peer.ID
	s := d.dials[id]
	if s == nil || d.linked(id) {
		return // not a node that this behaviour dials
	}
	d.stats.DialErrors++
	d.dialled(id)
	d.failed(a, id, a.Now())
	if dial.Retry.After(s.next) {
		s.next = dial.Retry
	}
	a.Log().Debug("discovery: dial failed", "node", id.Short(), "fails", s.fails, "err", err)
}

// OnMessage takes a message of a neighbour. Messages that came over more than
// one connection, or from this node, are none of the protocol.
func (d *Discovery) OnMessage(a *agent.Behavior, m *conn.Message) {
	d.stats.Received++
	d.stats.ReceivedBytes += uint64(len(m.Payload))
	l := d.linkOf(m.Conn)
	if l == nil || l.barred || m.From != l.info.Node || d.stopping {
		d.stats.Refused++
		return
	}
	now := a.Now()
	var err error
	switch m.Kind {
	case kindRecords:
		err = d.onRecords(a, l, m.Payload, now)
	case kindAnnounce:
		err = d.onAnnounce(a, l, m.Payload, now)
	case kindRequest:
		err = d.onRequest(a, l, m.Payload, now)
	case kindDigest:
		err = d.onDigest(a, l, m.Payload, now)
	case kindLink:
		err = d.onLink(a, l, m.Payload, now)
	default:
		err = errMessage
	}
	if err != nil {
		d.stats.Refused++
		a.Log().Debug("discovery: message ignored", "from", m.From.Short(), "kind", m.Kind, "err", err)
	}
}

// forget declares dead who has not renewed its record, and drops what is
// remembered of those long dead.
func (d *Discovery) forget(now time.Time) {
	for _, n := range d.store.expire(now, d.linked) {
		d.tell(n)
	}
	for _, n := range d.store.bury(now, d.config.Retention, maxDead) {
		if !d.seed(n.id) {
			d.dialled(n.id)
			delete(d.dials, n.id)
		}
	}
	d.known.Store(int64(d.store.live))
}

// tell tells the directory what became of a node.
func (d *Discovery) tell(n *node) {
	if n.dead {
		d.stats.Forgotten++
	}
	if d.config.Directory == nil {
		return
	}
	if n.dead {
		d.config.Directory.RemoveNode(n.id)
		return
	}
	ids := make([]identity.ServiceID, 0, len(n.services))
	for _, s := range n.services {
		ids = append(ids, s.ID)
	}
	d.config.Directory.SetNode(n.id, ids)
}

// renew issues this node's record anew if it is due or has changed.
func (d *Discovery) renew(a *agent.Behavior, now time.Time) {
	if d.config.Key.IsZero() {
		return
	}
	addresses, services := d.config.advertised()
	same := slices.Equal(addresses, d.own.addresses) && slices.Equal(services, d.own.services)
	if d.own.bytes != nil && same && now.Before(d.own.renewal) {
		return
	}
	d.own.addresses, d.own.services = addresses, services
	d.issue(a, now, !same)
}

// nextSequence is the time, or one more than the last if that is later: a clock
// that is set back does not make new records old.
func (d *Discovery) nextSequence(now time.Time) uint64 {
	return min(max(uint64(max(now.UnixMilli(), 1)), d.own.sequence+1), maxSequence)
}

// lifetime is that of this node's next record.
func (d *Discovery) lifetime() time.Duration {
	grown := d.config.TTL * time.Duration(min(d.store.live, maxGrowth*freeNodes)) / freeNodes
	return min(max(d.config.TTL, grown), maxLifetime).Truncate(time.Millisecond)
}

// issue signs a new record and puts it among the news.
func (d *Discovery) issue(a *agent.Behavior, now time.Time, change bool) {
	d.own.id, d.own.sequence, d.own.lifetime = d.self, d.nextSequence(now), d.lifetime()
	b, err := appendRecord(nil, &d.own.record, d.config.Key)
	if err != nil {
		if d.own.failed != err.Error() {
			d.own.failed = err.Error()
			a.Log().Error("discovery: this node cannot be announced", "err", err)
		}
		return
	}
	if bytes.Equal(b, d.own.bytes) {
		return
	}
	d.own.before = d.own.print
	d.own.bytes, d.own.issued, d.own.failed = b, now, ""
	d.own.print, d.own.content = fingerprintOf(b), contentOf(b)
	third := d.own.lifetime / 3
	d.own.renewal = now.Add(third - third/4 + d.jitter(a, third/4)) // nodes that start together part
	d.announce(d.own.print, 0, change)
}
