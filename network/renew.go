package network

import (
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/wire"
)

// A renewal is what a link does to get another connection, in place of one that
// broke or for one at an address that is preferred. Guarded by Node.mu.
type renewal struct {
	addresses []identity.Address // where the other end was dialled, the most preferred first
	limit     env.Timer          // ends the link; nil: it is on a connection
	dialling  bool               // for a connection in place of one that broke
	arriving  int                // connections that the other end may already have moved to
	carried   bool               // it has been on a connection

	since time.Time // when the last connection was made
	mark  uint64    // the link's progress by then
	flaps int       // connections in a row that broke soon and carried nothing

	at     identity.Address // where the connection in use was dialled; zero: the other end has
	move   env.Timer        // preferred addresses are dialled then; nil: none are, or now
	moving bool             // they are dialled now
	moves  int              // how often they were, since there was a lasting connection to the best
}

// suspend looks for another connection in place of one that broke.
func (l *link) suspend(err error) {
	n := l.n
	n.mu.Lock()
	r := &l.renewal
	if !l.suspended() { // it is on another already
		n.mu.Unlock()
		return
	}
	l.stay()
	if n.env.Now().Sub(r.since) < settling && l.session.progress() == r.mark {
		r.flaps++
	} else {
		r.flaps = 0
	}
	if r.limit == nil {
		r.limit = n.env.AfterFunc(n.cfg.Limits.ResumeTime, func() {
			l.abort(&conn.CloseError{Code: conn.CodeUnreachable, Reason: "no connection took the place of the one that broke within Limits.ResumeTime", Err: err})
		})
	}
	if w := n.wanted[l.node]; w != nil {
		r.addresses = w.peer.Addresses
	}
	cause := l.cause()
	bye := cause != nil && (l.parted.Load() || len(r.addresses) == 0)
	if !bye {
		l.startRenewal()
	}
	n.mu.Unlock()
	if bye {
		l.c.Close(cause) // nobody is left to say goodbye to
		return
	}
	l.log.Debug("connection broke", "peer", l.node.Short(), "err", err)
}

// startRenewal has somebody dial, unless that is so already or nobody knows where.
// The caller holds Node.mu.
func (l *link) startRenewal() {
	if r := &l.renewal; !r.dialling && len(r.addresses) > 0 && !l.n.stopping {
		r.dialling = true
		l.n.goRunning(l.renew)
	}
}

// reachableAt notes where the other end may be dialled, if nobody knew, or the
// node is to stay connected to it. The caller holds Node.mu.
func (l *link) reachableAt(addresses []identity.Address) {
	r := &l.renewal
	if w := l.n.wanted[l.node]; w != nil {
		addresses = w.peer.Addresses
	} else if len(r.addresses) > 0 {
		return
	}
	if l.session == nil || slices.Equal(addresses, r.addresses) {
		return
	}
	r.addresses = slices.Clone(addresses)
	if r.limit != nil {
		l.startRenewal()
		return
	}
	r.moves = 0
	l.planMove()
}

// renew dials until the link is on a connection again, or has ended: at once, unless
// the last two connections were of no use, and then less and less often.
func (l *link) renew() {
	n := l.n
	for fails := 0; ; {
		peer, wait := l.renewable(fails)
		if wait > 0 {
			n.pause(l.ctx, wait)
			peer, _ = l.renewable(fails)
		}
		if peer.ID.IsZero() {
			return
		}
		before := l.renewals.Load()
		ctx, cancel := env.WithTimeout(n.env, l.ctx, n.cfg.Limits.DialTime)
		if _, err := n.dial(ctx, &dial{peer: peer, renews: l}); err != nil {
			l.log.Debug("no other connection yet", "peer", l.node.Short(), "err", err)
		}
		cancel()
		if fails++; l.renewals.Load() > before { // whoever dialled
			fails = 0
		}
	}
}

// renewable returns whom to dial, after how long, for the renewal of a link that
// failed so often. There is nobody if it is on a connection again, or has ended: then
// the renewal is over.
func (l *link) renewable(fails int) (peer identity.PeerAddress, wait time.Duration) {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &l.renewal
	if r.limit == nil || l.ctx.Err() != nil {
		r.dialling = false
		return identity.PeerAddress{}, 0
	}
	if fails = max(fails, r.flaps-1); fails > 0 {
		wait = min(n.backoff(fails), maxRenewPause)
	} else if r.arriving > 0 { // the news of that is slower than the end of the old connection
		wait = headStart
	}
	return identity.PeerAddress{ID: l.node, Addresses: r.addresses}, wait
}

// maxRenewPause bounds the time between two dials for a link whose connection
// broke.
const maxRenewPause = 2 * time.Second

// settling is how long a connection has to last to be of use, unless messages got
// through.
const settling = time.Second

// headStart is how long a connection on which this end has said hello already has
// to take the place of one that broke, before others are dialled.
const headStart = 250 * time.Millisecond

// meet notes which link this node has with the one at the other end, to which it
// is about to say hello: as soon as that is read, the other end may move the link to
// this connection. over ends that.
func (n *Node) meet(o *candidate) (over func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.byNode[o.c.Node()]
	if o.had = l; l == nil {
		return func() {}
	}
	l.renewal.arriving++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		l.renewal.arriving--
	}
}

// renewed notes that the link has moved to a connection. It ends what suspend
// began.
func (l *link) renewed(o *candidate) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	r := &l.renewal
	if r.carried {
		l.renewals.Add(1)
		l.n.count.renewed.Add(1)
	}
	r.carried = true
	r.since, r.mark = l.n.env.Now(), l.session.progress()
	if l.session.ch.On() != durable.Carrier(o.c) {
		return // it has broken, or another has taken its place
	}
	if r.limit != nil {
		r.limit.Stop()
		r.limit = nil
	}
	r.at = o.at
	l.planMove()
}

// disowns reports whether the other end no longer knows the session of the link:
// it has started anew, or has said hello without offering to resume it after it
// had said that it is ready for it.
func (l *link) disowns(h *wire.Hello) bool {
	if slices.ContainsFunc(h.Resume, l.session.knows) {
		return false
	}
	return h.Instance != l.peerInstance || h.Said > l.peerReady
}

// suspended reports whether the link is on no connection.
func (l *link) suspended() bool { return l.session != nil && l.session.ch.On() == nil }

// A kept session is one on which the other end may open a link, or has: this end
// goes on with it even if it does not learn of that.
type kept struct {
	session *session
	opening bool // here, too
	until   time.Time
}

// keepSession keeps a session of which this end is about to say that it is ready.
// peer is the epoch of the other end.
func (n *Node) keepSession(s *session, peer durable.Epoch) {
	s.ch.Meet(peer)
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.env.Now()
	for id, list := range n.kept {
		if now.After(list[len(list)-1].until) {
			delete(n.kept, id)
		}
	}
	list := n.kept[s.node]
	if len(list) == wire.MaxResume {
		list = list[1:]
	}
	if len(n.kept) < maxKept || list != nil {
		n.kept[s.node] = append(slices.Clip(list), kept{s, true, now.Add(n.cfg.Limits.ResumeTime)})
	}
}

// settleSession ends the opening of a kept session on this side. refused: the
// other end has not opened it either.
func (n *Node) settleSession(s *session, refused bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.Clone(n.kept[s.node])
	for i := range list {
		if list[i].session == s {
			list[i].opening = false
		}
	}
	if refused {
		list = slices.DeleteFunc(list, func(k kept) bool { return k.session == s })
	}
	if n.kept[s.node] = list; len(list) == 0 {
		delete(n.kept, s.node)
	}
}

// maxKept bounds the nodes with which sessions are kept.
const maxKept = 1024

// resumable returns the sessions that this node has, or may have, with the one at
// the other end: that of the link, unless it ends, and those of connections on which
// this node has said that it is ready since. A connection for a link is for that one
// alone, even if it ends: to say so.
func (n *Node) resumable(o *candidate) []kept {
	node := o.c.Node()
	n.mu.Lock()
	defer n.mu.Unlock()
	if o.renews != nil {
		return []kept{{session: o.renews.session}}
	}
	now := n.env.Now()
	list := slices.DeleteFunc(slices.Clone(n.kept[node]), func(k kept) bool { return now.After(k.until) })
	if l := n.byNode[node]; l != nil && l.session != nil && l.cause() == nil {
		list = append([]kept{{session: l.session}}, list[max(0, len(list)+1-wire.MaxResume):]...)
	}
	return list
}
