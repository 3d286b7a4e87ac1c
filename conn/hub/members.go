package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
)

// A table is the members. It is replaced, never changed.
type table struct {
	byID  map[identity.NodeID]*member
	order []*member // by ID
}

func (h *Hub) member(id identity.NodeID) *member { return h.members.Load().byID[id] }

// replace has m in the table, or nobody if m is nil, in place of the member of an
// ID. The caller holds mu.
func (h *Hub) replace(id identity.NodeID, m *member) {
	old := h.members.Load()
	t := &table{byID: make(map[identity.NodeID]*member, len(old.byID)+1)}
	for _, o := range old.order {
		if o.id != id {
			t.byID[o.id] = o
			t.order = append(t.order, o)
		}
	}
	if m != nil {
		t.byID[id] = m
		at, _ := slices.BinarySearchFunc(t.order, id, func(o *member, id identity.NodeID) int { return o.id.Compare(id) })
		t.order = slices.Insert(t.order, at, m)
	}
	h.members.Store(t)
}

// maxAddresses is how many addresses a member may have.
const maxAddresses = 32

// Add makes a node a member, which is kept connected from now on, and returns its
// endpoint. Its addresses stand in order of preference; one without any is waited
// for. If it is barred, it is not any more. Adding a member again sets its
// addresses.
//
// With a [Config.Journal], Add waits until it is read, and written.
//
// Messages of the endpoint are to be received with [Hub.Recv] or with Recv of the
// endpoint, not with both. Closing the endpoint ends the membership at both ends,
// in good order.
func (h *Hub) Add(peer identity.PeerAddress) (*endpoint.Endpoint, error) {
	if peer.ID == h.self {
		return nil, errors.New("hub: the node cannot be a member of its own hub")
	}
	if peer.ID.IsZero() {
		return nil, errors.New("hub: the peer has no ID; a peer address has one in front of its addresses")
	}
	if err := h.checkAddresses(peer.Addresses); err != nil {
		return nil, err
	}
	h.adding.Acquire(h.env)
	defer h.adding.Release()
	former, err := h.beginAdding(peer)
	if err != nil {
		return nil, err
	}
	if former != nil && !former.over() {
		return former.ep, nil
	}
	m, err := h.newMember(peer, former)
	if err != nil {
		return nil, err
	}
	if err := h.join(m); err != nil {
		m.end(err)
		return nil, err
	}
	h.in.add(m) // a journal may have left something; else OnReady tells from now on
	return m.ep, nil
}

// beginAdding returns the member of an ID, if there is one; one that lives gets
// the addresses.
func (h *Hub) beginAdding(peer identity.PeerAddress) (former *member, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == isClosing {
		return nil, errClosed
	}
	if former = h.member(peer.ID); former != nil && !former.over() {
		former.setAddresses(peer.Addresses)
	}
	return former, nil
}

// join has m kept connected, unless the hub is closing.
func (h *Hub) join(m *member) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == isClosing {
		return errClosed
	}
	delete(h.barred, m.id)
	h.replace(m.id, m)
	h.running.add()
	h.env.Go(m.keep)
	return nil
}

func (h *Hub) checkAddresses(addrs []identity.Address) error {
	if len(addrs) > maxAddresses {
		return fmt.Errorf("hub: the peer has %d addresses, at most %d are taken", len(addrs), maxAddresses)
	}
	for _, addr := range addrs {
		if h.cfg.transport(addr.Scheme) == nil {
			return fmt.Errorf("hub: the peer has the address %s: %w", addr, h.cfg.noTransport(addr))
		}
	}
	return nil
}

// SetAddresses replaces the addresses of a member. A connection to an address that
// is no longer among them stays until one of the new ones has taken its place.
func (h *Hub) SetAddresses(id identity.NodeID, addrs []identity.Address) error {
	if err := h.checkAddresses(addrs); err != nil {
		return err
	}
	m := h.member(id)
	if m == nil {
		return notMember(id)
	}
	m.setAddresses(addrs)
	return nil
}

// SetBackoff gives a member a back-off of its own, nil takes it away. It holds for
// the wait that is under way, too.
func (h *Hub) SetBackoff(id identity.NodeID, b Backoff) error {
	m := h.member(id)
	if m == nil {
		return notMember(id)
	}
	m.setBackoff(b)
	return nil
}

// Remove ends the endpoint of a member, at once and on this side only, and bars
// the node until it is added again: its connections are refused. What it has sent
// and Recv has not returned is dropped. A node that is not a member is barred,
// too, and the error is [ErrNotMember].
//
// The other side keeps its endpoint, if it has a hub too: it reads why its
// connections are refused ([Peer], Err), and learns of a restart if it is added
// again. With a [Config.Journal] the channel then goes on instead, and what was
// dropped comes again.
func (h *Hub) Remove(id identity.NodeID) error {
	h.mu.Lock()
	h.barred[id] = true
	m := h.member(id)
	if m != nil {
		m.removed.Store(true)
		h.replace(id, nil)
	}
	h.mu.Unlock()
	if m == nil {
		return notMember(id)
	}
	h.known.Forget(id)
	h.in.gone(m)
	m.end(errBarred)
	return nil
}

var (
	errBarred   = &conn.CloseError{Code: conn.CodeRejected, Reason: "barred: this node was removed"}
	errStranger = &conn.CloseError{Code: conn.CodeRejected, Reason: "not a member"}
)

func notMember(id identity.NodeID) error { return fmt.Errorf("%w: %s", ErrNotMember, id) }

// A Peer is how things stand with a member.
type Peer struct {
	ID        identity.NodeID
	Addresses []identity.Address
	Endpoint  *endpoint.Endpoint

	Connected bool
	Since     time.Time        // of being connected, or of not being so
	Direction conn.Direction   // of the connection; zero: there is none
	Remote    identity.Address // of the connection: where it was dialled, if this node did

	// Of a member that is not connected.
	Failures int       // attempts since it was
	Err      error     // why the last one failed, or the connection broke; may be nil
	Retry    time.Time // when it is dialled again, if it is in the future
}

// Peer returns how things stand with a member.
func (h *Hub) Peer(id identity.NodeID) (Peer, bool) {
	m := h.member(id)
	if m == nil {
		return Peer{}, false
	}
	return m.peer(), true
}

// Peers returns how things stand with all members, by ID.
func (h *Hub) Peers() []Peer {
	order := h.members.Load().order
	peers := make([]Peer, len(order))
	for i, m := range order {
		peers[i] = m.peer()
	}
	return peers
}

// newMember makes a member; former has had its ID before, and is over. It waits for
// the journal, if there is one.
func (h *Hub) newMember(peer identity.PeerAddress, former *member) (*member, error) {
	m := &member{hub: h, id: peer.ID, addrs: slices.Clone(peer.Addresses), changed: make(chan struct{}, 1)}
	m.ctx, m.end = context.WithCancelCause(h.ctx)
	cfg := h.cfg.Endpoint
	var made atomic.Bool
	cfg.OnReady = func() {
		if made.Load() {
			h.in.add(m)
		}
	}
	var err error
	if cfg.Journal, err = h.journal(peer.ID); err != nil {
		return nil, err
	}
	cfg.OnConnect = m.onConnect
	cfg.OnDisconnect = m.onDisconnect
	if f := h.cfg.OnDatagram; f != nil {
		cfg.OnDatagram = func(p []byte) { h.call("OnDatagram", func() { f(m.id, p) }) }
	}
	if m.ep, err = endpoint.New(m.ctx, h.self, peer.ID, cfg); err != nil {
		m.end(nil)
		return nil, err
	}
	m.lost = h.env.Now()
	h.in.follow(m, former)
	made.Store(true)
	return m, nil
}

// journal returns the journal for a member, if there is to be one.
func (h *Hub) journal(peer identity.NodeID) (j endpoint.Journal, err error) {
	if h.cfg.Journal == nil {
		return nil, nil
	}
	err = errors.New("hub: Config.Journal panicked; the log has more")
	h.call("Journal", func() { j, err = h.cfg.Journal(peer), nil })
	return j, err
}
