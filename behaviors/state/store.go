package state

import (
	"crypto/sha256"
	"errors"
	"iter"
	"slices"
	"time"
)

// rootDomain comes before what the root is a hash of.
const rootDomain = "plexus/state/root/v1"

// pruneSteps is how many times within the grace tombstones are pruned. Replicas
// prune at the same points of time, so that pruning hardly ever makes them
// differ.
const pruneSteps = 128

// errOutdated is why an entry is not taken that is known, or loses against what
// is; errExpired, that it is a deletion past the grace.
var (
	errOutdated = errors.New("state: outdated")
	errExpired  = errors.New("state: expired")
)

// A store holds the entries of a replica. Its owner locks.
//
//	entries  key --> entry           for reading
//	buckets  256 lists by key hash   for comparing replicas: each has a hash,
//	                                 and the root is the hash of those
type store struct {
	cfg     Config
	clock   clock
	entries map[string]*entry
	buckets [buckets]bucket
	root    [32]byte
	stale   bool // root does not belong to the buckets
	live    int  // entries with a value
	dead    int  // tombstones
	bytes   int
	pruned  int64 // the step that prune was last done in
}

type bucket struct {
	items []*entry // by hash
	sum   bucketSum
	stale bool // sum does not belong to the items
}

func newStore(cfg Config) *store {
	return &store{cfg: cfg, clock: clock{maxSkew: cfg.MaxSkew}, entries: make(map[string]*entry), stale: true}
}

// stampFor returns the stamp of a new write of key, which wins over all that
// this replica has seen of key, even where that is stamped in the future.
func (s *store) stampFor(key string, now time.Time) (Stamp, error) {
	stamp := s.clock.next(now)
	if old := s.entries[key]; old != nil && old.stamp >= stamp {
		if old.stamp == maxStamp {
			return 0, &LimitError{Limit: "stamp", Max: uint64(maxStamp)}
		}
		stamp = old.stamp + 1
	}
	return stamp, nil
}

// check says why e would not be taken: errOutdated, errExpired or a
// *LimitError.
func (s *store) check(e *entry, now time.Time) error {
	old := s.entries[e.key]
	if old != nil && !e.after(old) {
		return errOutdated
	}
	if e.dead && s.expired(e.stamp, now) && (old == nil || old.dead) {
		return errExpired
	}
	live, dead, bytes := s.live, s.dead, s.bytes+e.size()
	if old != nil {
		bytes -= old.size()
		count(old, &live, &dead, -1)
	}
	count(e, &live, &dead, +1)
	switch {
	case live > s.cfg.MaxKeys && live > s.live:
		return &LimitError{Limit: "MaxKeys", Max: uint64(s.cfg.MaxKeys), Want: uint64(live)}
	case dead > s.cfg.MaxTombstones && dead > s.dead:
		return &LimitError{Limit: "MaxTombstones", Max: uint64(s.cfg.MaxTombstones), Want: uint64(dead)}
	case bytes > s.cfg.MaxBytes && bytes > s.bytes:
		return &LimitError{Limit: "MaxBytes", Max: uint64(s.cfg.MaxBytes), Want: uint64(bytes)}
	}
	return nil
}

func count(e *entry, live, dead *int, by int) {
	if e.dead {
		*dead += by
	} else {
		*live += by
	}
}

// put takes e, which check lets pass and which is for keeps. It reports whether
// the value of the key has changed.
func (s *store) put(e *entry, now time.Time) (changed bool) {
	s.clock.observe(e.stamp, now)
	old := s.entries[e.key]
	if e.dead && s.expired(e.stamp, now) {
		s.remove(old) // the deletion counts, but is not to be remembered
		return true
	}
	b := &s.buckets[e.hash[0]]
	i, found := b.search(e.hash)
	if found {
		b.items[i] = e
	} else {
		b.items = slices.Insert(b.items, i, e)
	}
	if old != nil {
		s.bytes -= old.size()
		count(old, &s.live, &s.dead, -1)
	}
	s.entries[e.key] = e
	s.bytes += e.size()
	count(e, &s.live, &s.dead, +1)
	b.stale, s.stale = true, true
	return !e.dead || old != nil && !old.dead
}

func (s *store) remove(e *entry) {
	b := &s.buckets[e.hash[0]]
	if i, found := b.search(e.hash); found {
		b.items = slices.Delete(b.items, i, i+1)
	}
	delete(s.entries, e.key)
	s.bytes -= e.size()
	count(e, &s.live, &s.dead, -1)
	b.stale, s.stale = true, true
}

func (b *bucket) search(h keyHash) (int, bool) {
	return slices.BinarySearchFunc(b.items, h, func(e *entry, h keyHash) int { return e.hash.compare(h) })
}

// find returns the entry whose key has the hash, or nil.
func (s *store) find(h keyHash) *entry {
	b := &s.buckets[h[0]]
	if i, found := b.search(h); found {
		return b.items[i]
	}
	return nil
}

// in returns the entries of a span, in its order.
func (s *store) in(sp span) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for n := int(sp.from[0]); n <= int(sp.to[0]); n++ {
			b := &s.buckets[n]
			first, _ := b.search(sp.from)
			for _, e := range b.items[first:] {
				if e.hash.compare(sp.to) > 0 || !yield(e) {
					return
				}
			}
		}
	}
}

// full reports that the store takes no new keys.
func (s *store) full() bool {
	return s.live >= s.cfg.MaxKeys || s.dead >= s.cfg.MaxTombstones || s.bytes > s.cfg.MaxBytes-maxEntry
}

// step returns the beginning, in milliseconds, of the pruning step at now.
func (s *store) step(now time.Time) int64 {
	ms := int64(stampOf(now) >> 16)
	return ms - ms%max(s.cfg.Grace.Milliseconds()/pruneSteps, 1)
}

// expired reports whether a tombstone with the stamp is past the grace.
func (s *store) expired(stamp Stamp, now time.Time) bool {
	return int64(stamp>>16)+s.cfg.Grace.Milliseconds() < s.step(now)
}

// prune forgets tombstones past the grace. It looks for them once per step.
func (s *store) prune(now time.Time) {
	step := s.step(now)
	if step == s.pruned {
		return
	}
	s.pruned = step
	if s.dead == 0 {
		return
	}
	for _, e := range s.entries {
		if e.dead && s.expired(e.stamp, now) {
			s.remove(e)
		}
	}
}

// sums returns the hashes of the buckets, after bringing them up to date.
func (s *store) sums() *[buckets]bucketSum {
	if s.stale {
		s.refresh()
	}
	var sums [buckets]bucketSum
	for i := range s.buckets {
		sums[i] = s.buckets[i].sum
	}
	return &sums
}

// rootSum returns the hash of all entries. Equal replicas, and only they, have
// equal roots.
func (s *store) rootSum() [32]byte {
	if s.stale {
		s.refresh()
	}
	return s.root
}

func (s *store) refresh() {
	root := sha256.New()
	root.Write([]byte(rootDomain))
	for i := range s.buckets {
		b := &s.buckets[i]
		if b.stale {
			b.stale, b.sum = false, bucketSum{}
			if len(b.items) > 0 {
				h := sha256.New()
				for _, e := range b.items {
					h.Write(e.sum[:])
				}
				b.sum = bucketSum(h.Sum(nil))
			}
		}
		root.Write(b.sum[:])
	}
	root.Sum(s.root[:0])
	s.stale = false
}

// itemOf returns what stands for e while replicas compare.
func itemOf(e *entry) item { return item{e.hash, e.stamp, [8]byte(e.sum[:])} }
