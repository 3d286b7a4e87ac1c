package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/race"
)

// A dial is an attempt to connect to a node, or the memory of those that
// failed. Whoever dials the same node meanwhile shares it.
type dial struct {
	peer   identity.PeerAddress
	done   chan struct{} // closed when link or err is set
	link   *link
	err    error
	cancel context.CancelFunc
	tried  []identity.Address // since the node was last connected
	fails  int
	retry  time.Time // not before
	renews *link     // for which it is; nil: for a new one
	moves  bool      // that one is on a connection, to an address that is less preferred
}

// A dialFailure is what OnDialError is told.
type dialFailure struct {
	dial conn.Dial
	err  error
}

// A want is a node that Add keeps connected.
type want struct {
	peer  identity.PeerAddress
	timer env.Timer
}

// dialFor is Dial of an agent.
func (n *Node) dialFor(peer identity.PeerAddress) error {
	_, err := n.startDial(peer)
	return err
}

// startDial returns the dial of a node: the one that is under way, or a fresh
// one, which it starts.
func (n *Node) startDial(peer identity.PeerAddress) (*dial, error) {
	if peer.ID == n.self {
		return nil, agent.ErrSelf
	}
	if len(peer.Addresses) == 0 {
		return nil, fmt.Errorf("network: %s has no address to dial", peer.ID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping || n.state == isStopped {
		return nil, agent.ErrStopped
	}
	if l := n.connected(peer.ID); l != nil {
		l.reachableAt(peer.Addresses)
		return nil, agent.ErrConnected
	}
	old := n.dials[peer.ID]
	if old != nil && old.cancel != nil {
		n.count.dialsShared.Add(1)
		return old, nil
	}
	now := n.env.Now()
	untried := func(a identity.Address) bool { return !slices.Contains(old.tried, a) }
	if old != nil && now.Before(old.retry) && (len(old.tried) >= maxTried || !slices.ContainsFunc(peer.Addresses, untried)) {
		return nil, fmt.Errorf("network: dialled %d times without success, again after %v: %w", old.fails, old.retry.Sub(now).Round(time.Millisecond), old.err)
	}
	ctx, cancel := context.WithCancel(n.ctx)
	d := &dial{peer: identity.PeerAddress{ID: peer.ID, Addresses: slices.Clone(peer.Addresses)}, done: make(chan struct{})}
	d.cancel = cancel
	if old != nil {
		d.fails, d.tried = old.fails, old.tried
	}
	for _, a := range d.peer.Addresses {
		if !slices.Contains(d.tried, a) {
			d.tried = append(slices.Clip(d.tried), a)
		}
	}
	if len(n.dials) >= maxDials {
		n.pruneDials(now)
	}
	n.dials[peer.ID] = d
	n.running.add(1)
	n.env.Go(func() {
		defer n.running.done()
		n.env.Wait(n.started, ctx.Done(), nil) // behaviours hear nothing before they have started
		limited, stop := env.WithTimeout(n.env, ctx, n.cfg.Limits.DialTime)
		defer stop()
		l, err := n.dial(limited, d)
		n.dialled(d, l, err)
	})
	return d, nil
}

// connected returns the link to a node, unless it is ending. The caller holds mu.
func (n *Node) connected(id identity.NodeID) *link {
	if l := n.byNode[id]; l != nil && l.cause() == nil {
		return l
	}
	return nil
}

// maxTried is how many addresses of a node may be dialled in spite of the
// back-off of others.
const maxTried = 32

// maxDials is how many nodes are remembered as dialled without success.
const maxDials = 4096

// pruneDials forgets failures that no longer hold anything back. The caller
// holds mu.
func (n *Node) pruneDials(now time.Time) {
	for id, d := range n.dials {
		if d.cancel == nil && now.After(d.retry) {
			delete(n.dials, id)
		}
	}
}

// dial races the addresses, and opens a link on the connection that comes first.
// Where that fails, the others have their turn.
func (n *Node) dial(ctx context.Context, d *dial) (*link, error) {
	n.count.dials.Add(1)
	peer := d.peer.ID
	order := n.addresses.Order(peer, d.peer.Addresses, nil)
	var errs []error
	for len(order) > 0 && ctx.Err() == nil {
		c, i, err := race.Dial(ctx, n.env, race.Config{Go: n.goRunning, Lost: func(i int, _ error) { n.addresses.Failed(peer, order[i]) }}, order,
			func(ctx context.Context, addr identity.Address) (conn.Conn, error) { return n.dialOne(ctx, peer, addr) },
			func(c conn.Conn) { c.Close(&conn.CloseError{Code: conn.CodeReplaced, Reason: race.ErrSlower.Error()}) })
		if err != nil {
			errs = append(errs, err)
			break
		}
		if d.needless() {
			c.Close(errReplaced)
			return d.renews, nil
		}
		l, err := n.open(ctx, &candidate{c: c, dir: conn.Outgoing, addresses: d.peer.Addresses, at: order[i], renews: d.renews})
		if err == nil {
			n.addresses.Worked(peer, order[i])
			return l, nil
		}
		if errors.Is(err, conn.CodeReplaced) {
			if l := n.await(ctx, peer); l != nil {
				return l, nil // the two nodes have dialled each other
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", order[i], err))
		order = slices.Delete(slices.Clone(order), i, i+1)
	}
	return nil, fmt.Errorf("network: dial %s: %w", peer.Short(), errors.Join(errs...))
}

// dialOne dials one address.
func (n *Node) dialOne(ctx context.Context, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	t := n.transport(addr.Scheme)
	if t == nil {
		return nil, fmt.Errorf("no transport for %s://", addr.Scheme)
	}
	return t.Dial(ctx, n.local, peer, addr)
}

// goRunning runs f beside the caller; the node does not stop before it returns.
func (n *Node) goRunning(f func()) {
	n.running.add(1)
	n.env.Go(func() {
		defer n.running.done()
		f()
	})
}

// await waits for the other connection that a node has chosen in place of a
// dialled one, a short time.
func (n *Node) await(ctx context.Context, id identity.NodeID) *link {
	for range awaitTries {
		n.mu.Lock()
		l := n.connected(id)
		n.mu.Unlock()
		if l != nil {
			return l
		}
		if !n.pause(ctx, awaitStep) {
			return nil
		}
	}
	return nil
}

const (
	awaitTries = 50
	awaitStep  = 10 * time.Millisecond
)

// dialled ends a dial: it tells whoever waits, and the behaviours of a failure.
func (n *Node) dialled(d *dial, l *link, err error) {
	n.mu.Lock()
	d.cancel()
	d.cancel = nil
	d.link, d.err = l, err
	f := dialFailure{dial: conn.Dial{Peer: d.peer}, err: err}
	if err == nil {
		delete(n.dials, d.peer.ID)
	} else {
		d.fails++
		d.retry = n.env.Now().Add(n.backoff(d.fails))
		f.dial.Retry = d.retry
	}
	w := n.wanted[d.peer.ID]
	stopping := n.stopping
	n.mu.Unlock()
	close(d.done)
	if err == nil || stopping {
		return
	}
	n.count.dialErrors.Add(1)
	n.cfg.Log.Debug("dial failed", "peer", d.peer.ID.Short(), "err", err)
	for _, s := range n.table.Load().order {
		if s.hooks.dialError != nil {
			s.put(item{op: opDialError, ev: f})
		}
	}
	if w != nil {
		n.schedule(d.peer.ID, f.dial.Retry.Sub(n.env.Now()))
	}
}

// backoff is how long a node is not dialled after some failures: it doubles,
// with up to a quarter of jitter, so that nodes do not dial in step.
func (n *Node) backoff(fails int) time.Duration {
	d := n.cfg.Limits.DialBackoff << min(fails-1, 30)
	if d <= 0 || d > n.cfg.Limits.DialBackoffMax {
		d = n.cfg.Limits.DialBackoffMax
	}
	if quarter := uint64(d / 4); quarter > 0 {
		d -= time.Duration(n.env.Source().Uint64() % quarter)
	}
	return d
}

// stopDials ends all dials and wishes.
func (n *Node) stopDials() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.dials {
		if d.cancel != nil {
			d.cancel()
		}
	}
	for _, w := range n.wanted {
		if w.timer != nil {
			w.timer.Stop()
		}
	}
}

// Connect connects to a node and waits until the connection is open, or ctx
// ends; then the dial goes on for those who share it. If there is a connection
// already, it returns that. Connect must not be called from a callback.
func (n *Node) Connect(ctx context.Context, peer identity.PeerAddress) (conn.Info, error) {
	d, err := n.startDial(peer)
	for errors.Is(err, agent.ErrConnected) {
		n.mu.Lock()
		l := n.connected(peer.ID)
		n.mu.Unlock()
		if l != nil {
			return l.info, nil
		}
		d, err = n.startDial(peer) // it has closed meanwhile
	}
	if err != nil {
		return conn.Info{}, err
	}
	if n.env.Wait(d.done, ctx.Done(), nil) == 1 {
		return conn.Info{}, context.Cause(ctx)
	}
	if d.err != nil {
		return conn.Info{}, d.err
	}
	return d.link.info, nil
}

// Add keeps the node connected to a peer: it dials, and dials again under
// back-off whenever the connection is lost, until Delete. Adding a peer again
// replaces its addresses.
func (n *Node) Add(peer identity.PeerAddress) error {
	if peer.ID == n.self {
		return agent.ErrSelf
	}
	if len(peer.Addresses) == 0 {
		return fmt.Errorf("network: %s has no address to dial", peer.ID)
	}
	n.mu.Lock()
	if n.stopping {
		n.mu.Unlock()
		return agent.ErrStopped
	}
	w := n.wanted[peer.ID]
	if w == nil {
		w = &want{}
		n.wanted[peer.ID] = w
	}
	w.peer = identity.PeerAddress{ID: peer.ID, Addresses: slices.Clone(peer.Addresses)}
	n.mu.Unlock()
	n.schedule(peer.ID, 0)
	return nil
}

// Delete forgets a peer that was added, and closes the connection to it. The
// peer is named by its ID or, where that is zero, by one of its addresses.
func (n *Node) Delete(peer identity.PeerAddress) error {
	n.mu.Lock()
	id := n.named(peer)
	w, l := n.wanted[id], n.byNode[id]
	delete(n.wanted, id)
	if w != nil && w.timer != nil {
		w.timer.Stop()
	}
	if d := n.dials[id]; d != nil && d.cancel != nil {
		d.cancel()
	}
	n.mu.Unlock()
	if l != nil {
		l.close(&conn.CloseError{Code: conn.CodeClosed, Reason: "deleted"})
	}
	if w == nil && l == nil {
		return fmt.Errorf("network: %s is neither added nor connected", peer)
	}
	return nil
}

// named returns the ID of a peer: of one that was added, or is connected, at
// one of the addresses where the ID is zero. The caller holds mu.
func (n *Node) named(peer identity.PeerAddress) identity.NodeID {
	if !peer.ID.IsZero() {
		return peer.ID
	}
	for _, addr := range peer.Addresses {
		var found identity.NodeID // the lowest: the order of a map decides nothing
		for id, w := range n.wanted {
			if slices.Contains(w.peer.Addresses, addr) && (found.IsZero() || id.Compare(found) < 0) {
				found = id
			}
		}
		if !found.IsZero() {
			return found
		}
		for _, l := range *n.list.Load() {
			if l.info.Remote == addr && l.cause() == nil {
				return l.node
			}
		}
	}
	return identity.NodeID{}
}

// schedule dials a wanted node after d.
func (n *Node) schedule(id identity.NodeID, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.wanted[id]
	if w == nil || n.stopping {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = n.env.AfterFunc(max(d, 0), func() {
		n.mu.Lock()
		still := n.wanted[id] == w
		peer := w.peer
		n.mu.Unlock()
		if !still {
			return
		}
		_, err := n.startDial(peer)
		if err != nil && !errors.Is(err, agent.ErrConnected) && !errors.Is(err, agent.ErrStopped) {
			n.mu.Lock()
			wait := n.cfg.Limits.DialBackoff
			if d := n.dials[id]; d != nil && d.cancel == nil {
				wait = max(wait, d.retry.Sub(n.env.Now()))
			}
			n.mu.Unlock()
			n.schedule(id, wait)
		}
	})
}

// redial dials a wanted node again after its link has ended.
func (n *Node) redial(l *link) {
	n.mu.Lock()
	_, ok := n.wanted[l.node]
	n.mu.Unlock()
	if ok {
		n.schedule(l.node, n.backoff(1))
	}
}

func (n *Node) transport(scheme string) conn.Transport {
	for _, t := range n.cfg.Transports {
		if slices.Contains(t.Schemes(), scheme) {
			return t
		}
	}
	return nil
}
