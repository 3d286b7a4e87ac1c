package state

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/identity"
)

// Service is the service ID that State is usually registered under, and Name
// its name.
const (
	Service identity.ServiceID = 4
	Name                       = "plexus/state"
)

// A State is one node's replica of the map, and the behaviour that keeps it
// equal to the others. Its exported methods may be called from any goroutine
// and never block, but for [Watcher.Next]. Make one with [New] and register it
// with a node.
type State struct {
	cfg    Config
	err    error // what is wrong with cfg, for OnStart to tell
	sign   signer
	verify verifier
	agent  atomic.Pointer[agent.Behavior] // nil while not running

	mu       sync.RWMutex // guards what follows
	store    *store
	outbox   map[string]identity.ConnID // keys to push, and where their entries came in; 0: written here
	flushAt  time.Time                  // when the outbox is due; zero: nothing is
	changed  queue                      // keys for OnChange
	watchers []*Watcher
	stopped  bool
	stats    Stats

	turn // belongs to the behaviour's turn, needs no lock
}

// New makes a replica. What is wrong with cfg is told when the node starts it.
func New(cfg Config) *State {
	cfg, err := cfg.withDefaults()
	return &State{
		cfg: cfg, err: err,
		sign:   identity.PrivateKey.Sign,
		verify: identity.NodeID.Verify,
		store:  newStore(cfg),
		outbox: make(map[string]identity.ConnID),
		turn:   turn{peers: make(map[identity.ConnID]*peer)},
	}
}

// Set writes a key: at once here, on peers within a moment. It copies value.
// Of writes to one key at the same time on several nodes, the same one wins
// everywhere.
//
// The error is ErrNotRunning, ErrNoKey, ErrDenied, a *LimitError or, where ctx
// has ended, its cause; then nothing was written. Set does not wait for other
// nodes: nil means that this node holds the write, in memory.
func (s *State) Set(ctx context.Context, key string, value []byte) error {
	if len(value) > MaxValue {
		return &LimitError{Limit: "value size", Max: MaxValue, Want: uint64(len(value))}
	}
	return s.write(ctx, key, value, false)
}

// Delete removes a key, also one that this replica has not heard of yet. The
// deletion is remembered for Config.Grace, and wins over each write of the key
// that the node had seen. Errors are those of Set.
func (s *State) Delete(ctx context.Context, key string) error {
	return s.write(ctx, key, nil, true)
}

func (s *State) write(ctx context.Context, key string, value []byte, dead bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a := s.agent.Load()
	switch {
	case a == nil:
		return ErrNotRunning
	case s.cfg.Key.IsZero():
		return ErrNoKey
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if s.cfg.Allow != nil && !s.cfg.Allow(s.cfg.Key.ID(), key) {
		return ErrDenied
	}
	now := a.Now()
	s.mu.Lock()
	stamp, err := s.store.stampFor(key, now)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	// Signing takes long: readers need not wait for it.
	e := seal(s.cfg.Key, s.sign, s.cfg.Domain, key, value, dead, stamp)
	s.mu.Lock()
	s.store.prune(now)
	if err = s.store.check(e, now); err == nil {
		s.put(e, 0, now)
		s.stats.Written++
	}
	s.mu.Unlock()
	if errors.Is(err, errOutdated) {
		return nil // somebody wrote the key since the stamp was taken, and wins
	}
	s.arm(a, now)
	return err
}

// put takes an entry that check has passed, from a connection or, with 0, from
// here. The caller holds the lock.
func (s *State) put(e *entry, from identity.ConnID, now time.Time) {
	if s.store.put(e, now) {
		s.notify(e.key)
	}
	if from == 0 || e.stamp >= s.started {
		s.outbox[e.key] = from
	}
}

// Get returns a copy of the value of a key, false if it has none.
func (s *State) Get(key string) (value []byte, ok bool) {
	s.mu.RLock()
	e := s.store.entries[key]
	s.mu.RUnlock()
	if e == nil || e.dead {
		return nil, false
	}
	return copyOf(e.value), true // entries never change
}

// copyOf copies a value, the empty one too.
func copyOf(value []byte) []byte { return append(make([]byte, 0, len(value)), value...) }

// Keys returns the keys that begin with prefix and have a value, in order.
func (s *State) Keys(prefix string) []string {
	found := s.withPrefix(prefix)
	keys := make([]string, len(found))
	for i, e := range found {
		keys[i] = e.key
	}
	return keys
}

// Range returns the keys that begin with prefix and copies of their values, in
// order, as they all were when the iteration began.
func (s *State) Range(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, e := range s.withPrefix(prefix) {
			if !yield(e.key, copyOf(e.value)) {
				return
			}
		}
	}
}

func (s *State) withPrefix(prefix string) []*entry {
	var found []*entry
	s.mu.RLock()
	for key, e := range s.store.entries {
		if !e.dead && strings.HasPrefix(key, prefix) {
			found = append(found, e)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(found, func(a, b *entry) int { return strings.Compare(a.key, b.key) })
	return found
}

// Root returns a hash of all that the replica holds, tombstones included: equal
// replicas have equal roots.
func (s *State) Root() [32]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.rootSum()
}

// Stats returns what the replica holds and has counted.
func (s *State) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	stats := s.stats
	stats.Keys, stats.Tombstones, stats.Bytes = s.store.live, s.store.dead, s.store.bytes
	return stats
}

// bump counts.
func (s *State) bump(counter *uint64) {
	s.mu.Lock()
	*counter++
	s.mu.Unlock()
}

// snapshot returns what is held, for tests to compare replicas by.
func (s *State) snapshot() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all [][]byte
	for e := range s.store.in(whole) {
		all = append(all, e.raw)
	}
	return bytes.Join(all, nil)
}
