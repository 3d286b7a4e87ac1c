package race

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// A MemoryConfig bounds a [Memory]. The zero value is ready for use.
type MemoryConfig struct {
	// Peers is how many peers are remembered: those used last. Default 4096.
	Peers int
	// Hold is how long an address is held back after it has lost once. It
	// doubles with each further loss, up to MaxHold. Default 30 s.
	Hold time.Duration
	// MaxHold bounds the time that an address is held back. A loss that is
	// older than twice as long is forgotten. Default 30 min, at least Hold.
	MaxHold time.Duration
}

const (
	defaultPeers   = 4096
	defaultHold    = 30 * time.Second
	defaultMaxHold = 30 * time.Minute
)

// maxAddresses is how many addresses are remembered of one peer: those used
// last.
const maxAddresses = 32

// maxLosses is what the losses of an address are counted up to: those that
// have lost as often are equals again.
const maxLosses = 16

// A Memory remembers which addresses of which peers worked, and how often each
// has lost lately. It is bounded. Methods may be called from any goroutine, and
// do not block.
type Memory[P, A comparable] struct {
	env env.Env
	cfg MemoryConfig

	mu    sync.Mutex // guards what follows
	peers map[P]*list.Element
	used  *list.List // of *record[P, A], the last used first
}

// A record is what is known of a peer's addresses, the last used first.
type record[P, A comparable] struct {
	peer      P
	addresses []known[A]
}

type known[A comparable] struct {
	addr   A
	worked time.Time // last; zero: never
	lost   time.Time // last, since it worked
	losses int       // since it worked
}

// NewMemory returns a memory that knows nothing. It takes the time from e.
func NewMemory[P, A comparable](e env.Env, cfg MemoryConfig) *Memory[P, A] {
	if cfg.Peers <= 0 {
		cfg.Peers = defaultPeers
	}
	if cfg.Hold <= 0 {
		cfg.Hold = defaultHold
	}
	if cfg.MaxHold <= 0 {
		cfg.MaxHold = defaultMaxHold
	}
	cfg.MaxHold = max(cfg.MaxHold, cfg.Hold)
	return &Memory[P, A]{env: e, cfg: cfg, peers: map[P]*list.Element{}, used: list.New()}
}

// Order returns addresses in the order in which to dial them. rank is the
// caller's preference, such as that for a transport: lower goes first. Within a
// rank, the address that worked last goes first, and then the order given.
// Addresses that are held back come last, those with fewer losses first. So a
// preferred address that has lost makes way for what works, and returns to its
// place when its time is over.
//
// A nil rank prefers addresses in the order given.
func (m *Memory[P, A]) Order(peer P, addrs []A, rank func(A) int) []A {
	type entry struct {
		known[A]
		rank, losses int
	}
	now := m.env.Now()
	entries := make([]entry, len(addrs))
	m.mu.Lock()
	r := m.find(peer)
	for i, addr := range addrs {
		k := known[A]{addr: addr}
		if j := r.index(addr); j >= 0 {
			k = r.addresses[j]
		}
		entries[i] = entry{known: k, rank: i}
		if m.heldUntil(k).After(now) {
			entries[i].losses = k.losses
		}
	}
	m.mu.Unlock()
	if rank != nil {
		for i, addr := range addrs {
			entries[i].rank = rank(addr)
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.losses, b.losses), cmp.Compare(a.rank, b.rank), b.worked.Compare(a.worked))
	})
	order := make([]A, len(addrs))
	for i := range entries {
		order[i] = entries[i].addr
	}
	return order
}

// Worked notes that a peer was reached at an address: its losses are forgiven.
func (m *Memory[P, A]) Worked(peer P, addr A) {
	now := m.env.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.touch(peer).touch(addr) = known[A]{addr: addr, worked: now}
}

// Failed notes that an address of a peer has lost a race.
func (m *Memory[P, A]) Failed(peer P, addr A) {
	now := m.env.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.touch(peer).touch(addr)
	if now.Sub(k.lost)/2 > m.cfg.MaxHold {
		k.losses = 0
	}
	k.lost, k.losses = now, min(k.losses+1, maxLosses)
}

// HeldUntil returns when an address of a peer returns to its place in the order;
// a zero time, or one in the past, if it is not held back. It says when it is
// worth while to try a preferred address again.
func (m *Memory[P, A]) HeldUntil(peer P, addr A) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(peer)
	if i := r.index(addr); i >= 0 {
		return m.heldUntil(r.addresses[i])
	}
	return time.Time{}
}

// Forget forgets a peer.
func (m *Memory[P, A]) Forget(peer P) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.peers[peer]; e != nil {
		m.used.Remove(e)
		delete(m.peers, peer)
	}
}

func (m *Memory[P, A]) heldUntil(k known[A]) time.Time {
	if k.losses == 0 {
		return time.Time{}
	}
	hold := m.cfg.Hold << (k.losses - 1)
	if hold > m.cfg.MaxHold || hold>>(k.losses-1) != m.cfg.Hold {
		hold = m.cfg.MaxHold
	}
	return k.lost.Add(hold)
}

// find returns the record of a peer, nil if there is none. The caller holds mu.
func (m *Memory[P, A]) find(peer P) *record[P, A] {
	e := m.peers[peer]
	if e == nil {
		return nil
	}
	m.used.MoveToFront(e)
	return e.Value.(*record[P, A])
}

// touch returns the record of a peer, made if there is none. The caller holds mu.
func (m *Memory[P, A]) touch(peer P) *record[P, A] {
	if r := m.find(peer); r != nil {
		return r
	}
	if m.used.Len() >= m.cfg.Peers {
		delete(m.peers, m.used.Remove(m.used.Back()).(*record[P, A]).peer)
	}
	r := &record[P, A]{peer: peer}
	m.peers[peer] = m.used.PushFront(r)
	return r
}

// index returns where an address is, -1 if it is not known.
func (r *record[P, A]) index(addr A) int {
	if r == nil {
		return -1
	}
	return slices.IndexFunc(r.addresses, func(k known[A]) bool { return k.addr == addr })
}

// touch moves what is known of an address to the front, and returns it.
func (r *record[P, A]) touch(addr A) *known[A] {
	k := known[A]{addr: addr}
	if i := r.index(addr); i >= 0 {
		k = r.addresses[i]
		r.addresses = slices.Delete(r.addresses, i, i+1)
	} else if len(r.addresses) == maxAddresses {
		r.addresses = r.addresses[:maxAddresses-1]
	}
	r.addresses = slices.Insert(r.addresses, 0, k)
	return &r.addresses[0]
}
