package hub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/race"
)

const (
	// headStart is how long the node with the higher ID leaves dialling to the
	// other.
	headStart = 250 * time.Millisecond

	// settling is how long a connection has to last to be of use, unless
	// something has got through on it: one that breaks earlier counts as a
	// failed attempt, so that nodes that connect and part do so under back-off.
	settling = time.Second
)

// forever says that nothing is to be done until something changes.
const forever time.Duration = -1

// keep is the keeper: it keeps the member connected until its endpoint ends.
func (m *member) keep() {
	h := m.hub
	defer h.running.done()
	if h.env.Wait(h.started, m.ep.Done(), nil) == 0 {
		m.mu.Lock()
		m.lost = h.env.Now()
		m.mu.Unlock()
		for !m.over() {
			m.pause(m.look())
		}
	}
	m.leave()
}

// pause waits for d, or until something changes.
func (m *member) pause(d time.Duration) {
	if d == 0 {
		return
	}
	if d > 0 {
		t := m.hub.env.AfterFunc(d, m.poke)
		defer t.Stop()
	}
	m.hub.env.Wait(m.changed, m.ep.Done(), nil)
}

// look does what is to be done, and returns after how long to look again.
func (m *member) look() time.Duration {
	c := m.ep.Conn()
	if c != m.on {
		m.turned(c)
	}
	if c != nil {
		return m.improve()
	}
	return m.renew()
}

// turned notes that the endpoint is on another connection than it was, or on none.
func (m *member) turned(c conn.Conn) {
	h := m.hub
	now := h.env.Now()
	m.mu.Lock()
	was := m.on
	m.on = c
	why := m.why
	if c == nil {
		m.lost, m.err = now, why
	} else {
		m.theirs = c != m.last.c
		m.remote = m.last.addr
		if m.theirs {
			m.remote = c.RemoteAddr()
		}
		m.ever, m.open = true, now
	}
	m.mu.Unlock()
	if c != nil {
		m.mark, m.hush = m.progress(), m.ep.Stats().Silences
		m.plan(now)
	} else {
		m.broke(now, why)
	}
	switch {
	case was == nil && h.cfg.OnConnect != nil:
		h.call("OnConnect", func() { h.cfg.OnConnect(m.id) })
	case c == nil && h.cfg.OnDisconnect != nil:
		h.call("OnDisconnect", func() { h.cfg.OnDisconnect(m.id, why) })
	}
}

// broke draws the conclusions from the end of a connection.
func (m *member) broke(now time.Time, why error) {
	if m.ep.Stats().Silences > m.hush && !m.theirs {
		m.hub.known.Failed(m.id, m.remote) // others go first
	}
	m.last.c = nil
	if now.Sub(m.open) < settling && m.progress() == m.mark {
		m.fail(why)
		return
	}
	m.mu.Lock()
	m.fails = 0
	m.mu.Unlock()
}

// fail counts a failed attempt.
func (m *member) fail(err error) {
	m.mu.Lock()
	m.fails++
	m.failed, m.err = m.hub.env.Now(), err
	m.rewait = false
	b, n := m.backoff, m.fails
	m.mu.Unlock()
	wait := m.hub.next(b, n)
	m.mu.Lock()
	m.wait = wait
	m.mu.Unlock()
}

// next asks a back-off; nil: the hub's.
func (h *Hub) next(b Backoff, attempt int) (wait time.Duration) {
	if b == nil {
		b = h.cfg.Backoff
	}
	wait = time.Second // should it panic
	h.call("Backoff", func() {
		if s, ok := b.(seeded); ok {
			wait = s.next(h.env.Source(), attempt)
		} else {
			wait = b.Next(attempt)
		}
	})
	return max(wait, 0)
}

// renew gets a connection, if it is time to.
func (m *member) renew() time.Duration {
	h := m.hub
	m.mu.Lock()
	rewait, b, n := m.rewait, m.backoff, m.fails
	m.rewait = false
	m.mu.Unlock()
	if rewait && n > 0 {
		wait := h.next(b, n)
		m.mu.Lock()
		m.wait = wait
		m.mu.Unlock()
	}
	now := h.env.Now()
	m.mu.Lock()
	left, bound := m.bound(now)
	wait := m.due(now)
	addrs, err := m.addrs, m.err
	m.mu.Unlock()
	if bound && left <= 0 {
		m.end(&conn.CloseError{Code: conn.CodeUnreachable, Reason: fmt.Sprintf("the connection broke and was not renewed within %v (Config.RenewWithin)", h.cfg.RenewWithin), Err: err})
		h.env.Wait(m.ep.Done(), nil, nil)
		return 0
	}
	switch {
	case len(addrs) > 0 && wait <= 0:
		limit := h.cfg.DialTime
		if bound {
			limit = min(limit, left)
		}
		m.settle(m.dial(h.known.Order(m.id, addrs, nil), limit, false))
		return 0
	case len(addrs) == 0:
		wait = forever
	}
	if bound && (wait < 0 || left < wait) {
		wait = left
	}
	return wait
}

// bound returns how long the connection may still be renewed, if that is bounded.
// The caller holds mu.
func (m *member) bound(now time.Time) (left time.Duration, bound bool) {
	within := m.hub.cfg.RenewWithin
	return m.lost.Add(within).Sub(now), within > 0 && m.ever
}

// due returns how long to wait before the next attempt. The caller holds mu.
func (m *member) due(now time.Time) time.Duration {
	var wait time.Duration
	if m.fails > 0 {
		wait = m.failed.Add(m.wait).Sub(now)
	}
	if !endpoint.Lower(m.hub.self, m.id) && (m.theirs || !m.ever) {
		wait = max(wait, m.lost.Add(headStart).Sub(now))
	}
	return wait
}

// settle notes how an attempt to get a connection went.
func (m *member) settle(err error) {
	if err == nil && m.ep.Conn() == nil {
		err = errAtOnce
	}
	switch {
	case err == nil, m.ep.Conn() != nil: // the other side may have been faster
	case errors.Is(err, errConnected), errors.Is(err, errMoved), m.ctx.Err() != nil:
	default:
		m.hub.cfg.Log.Debug("member not reached", "peer", m.id.Short(), "err", err)
		m.fail(err)
	}
}

// plan sets when addresses are dialled that are preferred to the one in use.
func (m *member) plan(now time.Time) {
	every := m.hub.cfg.MoveBack
	m.move = now.Add(every*3/4 + time.Duration(rand.New(m.hub.env.Source()).Int64N(max(int64(every/2), 1))))
}

// improve moves to an address that is preferred to the one in use, if it is time
// to and one works.
func (m *member) improve() time.Duration {
	h := m.hub
	m.mu.Lock()
	better, now := m.addrs, h.env.Now()
	i := slices.Index(better, m.remote)
	if i >= 0 {
		better = better[:i]
	}
	theirs := m.theirs
	m.mu.Unlock()
	switch {
	case theirs || len(better) == 0: // who has dialled moves
		return forever
	case i < 0 && m.stray != m.on:
		m.stray = m.on // its address is no longer one of the peer's: move now
	case h.cfg.MoveBack < 0:
		return forever
	case now.Before(m.move):
		return m.move.Sub(now)
	}
	err := m.dial(better, h.cfg.DialTime, true)
	if err != nil && m.ctx.Err() == nil {
		h.cfg.Log.Debug("preferred address not reached", "peer", m.id.Short(), "err", err)
	}
	m.plan(h.env.Now())
	return 0
}

// dial dials addresses and has the endpoint move to the connection. moving: there
// is one already.
func (m *member) dial(addrs []identity.Address, limit time.Duration, moving bool) error {
	h := m.hub
	ctx, cancel := context.WithCancelCause(m.ctx)
	defer cancel(nil)
	m.mu.Lock()
	if (m.ep.Conn() != nil) != moving {
		m.mu.Unlock()
		return errConnected // or broken: the keeper looks again
	}
	m.dialling, m.moving = cancel, moving
	m.mu.Unlock()
	limited, stop := env.WithTimeout(h.env, ctx, limit)
	defer stop()
	cfg := race.Config{Stagger: h.cfg.Stagger, Go: h.goCounted, Lost: func(i int, err error) { h.known.Failed(m.id, addrs[i]) }}
	c, i, err := race.Dial(limited, h.env, cfg, addrs, func(ctx context.Context, addr identity.Address) (conn.Conn, error) {
		return h.cfg.transport(addr.Scheme).Dial(ctx, h.local, m.id, addr)
	}, func(c conn.Conn) { c.Close(&conn.CloseError{Code: conn.CodeReplaced}) })
	m.mu.Lock()
	m.dialling = nil
	m.mu.Unlock()
	if err != nil {
		if cause := context.Cause(ctx); cause == errConnected || cause == errMoved || cause == errLost {
			return cause
		}
		return err
	}
	h.known.Worked(m.id, addrs[i])
	if err := h.authorize(m.ctx, conn.Peer{Node: m.id, Direction: conn.Outgoing, Remote: addrs[i]}); err != nil {
		h.refuse(c, err)
		return fmt.Errorf("%s: not authorized here: %w", addrs[i], err)
	}
	m.last = dialled{c, addrs[i]}
	if err := m.ep.Carry(m.ctx, c); err != nil {
		return fmt.Errorf("%s: %w", addrs[i], err)
	}
	return nil
}

// leave ends the membership, after the endpoint.
func (m *member) leave() {
	h := m.hub
	cause := m.ep.Cause()
	m.mu.Lock()
	was := m.on
	m.on, m.lost, m.err = nil, h.env.Now(), cause
	m.mu.Unlock()
	m.end(cause)
	if !m.removed.Load() && h.ctx.Err() == nil {
		h.in.over(m)
	}
	h.mu.Lock()
	if h.member(m.id) == m {
		h.replace(m.id, nil)
	}
	h.mu.Unlock()
	if was != nil && h.cfg.OnDisconnect != nil {
		h.call("OnDisconnect", func() { h.cfg.OnDisconnect(m.id, cause) })
	}
}
