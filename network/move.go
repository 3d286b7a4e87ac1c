package network

import (
	"slices"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// firstMove is how many failed dials the back-off counts before preferred
// addresses are dialled for the first time: sixteen times Limits.DialBackoff.
const firstMove = 5

// preferred returns the addresses that are preferred to the one in use, if this
// end has dialled that. The caller holds Node.mu.
func (l *link) preferred() []identity.Address {
	r := &l.renewal
	if r.at.IsZero() {
		return nil // whoever has dialled moves
	}
	end := slices.Index(r.addresses, r.at)
	if end < 0 { // it is no longer one of them
		end = len(r.addresses)
	}
	var out []identity.Address
	for _, a := range r.addresses[:end] {
		if l.n.transport(a.Scheme) != nil {
			out = append(out, a)
		}
	}
	return out
}

// planMove sets when addresses are dialled that are preferred to the one in use,
// if there are any. Times grow with every attempt, and with every move to one that
// did not last. The caller holds Node.mu.
func (l *link) planMove() {
	r := &l.renewal
	if r.move != nil {
		r.move.Stop()
		r.move = nil
	}
	if r.moving || r.limit != nil || l.n.stopping || l.cause() != nil || len(l.preferred()) == 0 {
		return
	}
	r.moves++
	r.move = l.n.env.AfterFunc(l.n.backoff(firstMove+r.moves-1), l.beginMove)
}

// stay ends what planMove began: the connection in use has broken. The caller
// holds Node.mu.
func (l *link) stay() {
	r := &l.renewal
	if r.move != nil {
		r.move.Stop()
		r.move = nil
	} else if !r.moving && l.n.env.Now().Sub(r.since) > l.n.cfg.Limits.DialBackoffMax {
		r.moves = 0 // the best address was in use, and lasted
	}
}

// beginMove dials the preferred addresses, beside the connection in use.
func (l *link) beginMove() {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &l.renewal
	if r.move == nil || r.moving || r.limit != nil || n.stopping || l.cause() != nil {
		return // it was stopped too late
	}
	r.move = nil
	if better := l.preferred(); len(better) > 0 {
		r.moving = true
		n.goRunning(func() { l.tryMove(better) })
	}
}

// tryMove has the link move to a connection to one of the addresses, if one can be
// made. What is under way on the connection that it leaves is sent again on the
// other, and counted once.
func (l *link) tryMove(better []identity.Address) {
	n := l.n
	ctx, cancel := env.WithTimeout(n.env, l.ctx, n.cfg.Limits.DialTime)
	defer cancel()
	if _, err := n.dial(ctx, &dial{peer: identity.PeerAddress{ID: l.node, Addresses: better}, renews: l, moves: true}); err != nil {
		l.log.Debug("no connection to a preferred address", "peer", l.node.Short(), "err", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l.renewal.moving = false
	l.planMove()
}

// needless reports whether the link for which a connection was dialled no longer
// needs it: it is on another, or about to end.
func (d *dial) needless() bool {
	l := d.renews
	return l != nil && (d.moves && l.cause() != nil || !d.moves && !l.suspended())
}

// endRenewal stops the timers of a link that has ended. The caller holds Node.mu.
func (l *link) endRenewal() {
	r := &l.renewal
	for _, t := range []*env.Timer{&r.limit, &r.move} {
		if *t != nil {
			(*t).Stop()
			*t = nil
		}
	}
}
