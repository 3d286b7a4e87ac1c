package discovery

import (
	"slices"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A node is what is known of another node: its last record, live or dead.
type node struct {
	record
	key     identity.Key
	bucket  int    // of this node's buckets: the common prefix of the two keys
	bytes   []byte // the record as it was received, to pass on
	print   fingerprint
	before  fingerprint // of the record that this one replaced
	content uint64
	born    time.Time // when the node issued it, by this node's clock
	dead    bool      // its lifetime has passed, or it has left
	left    bool      // it has said that it leaves
	since   time.Time // when it died
}

// expires tells when a live node is to be forgotten.
func (n *node) expires() time.Time { return n.born.Add(n.lifetime) }

// A store holds what is known of other nodes, live and dead, in bounded memory.
// It belongs to the behaviour's turn.
type store struct {
	self    identity.Key
	nodes   map[identity.NodeID]*node
	prints  map[fingerprint]*node // by current and previous fingerprint
	live    int
	buckets [identity.KeyBits + 1]int // live nodes that can be dialled, by bucket
	hash    uint64                    // XOR of the contents of live nodes
	next    time.Time                 // no live node expires earlier
}

func newStore() *store {
	return &store{nodes: make(map[identity.NodeID]*node), prints: make(map[fingerprint]*node)}
}

// dead counts the dead.
func (s *store) dead() int { return len(s.nodes) - s.live }

// put records a verified record that is newer than what is known. It returns
// the node and whether what the node says has changed. A record with no
// lifetime makes the node dead.
func (s *store) put(r record, b []byte, age time.Duration, now time.Time) (n *node, changed bool) {
	n = s.nodes[r.id]
	if n == nil {
		key := r.id.Key()
		n = &node{key: key, bucket: s.self.CommonPrefix(key), dead: true}
		s.nodes[r.id] = n
	}
	wasDead, content := n.dead, n.content
	s.count(n, -1)
	s.unprint(n.before, n)
	n.before = n.print
	n.record, n.bytes = r, slices.Clone(b)
	n.print, n.content, n.born = fingerprintOf(b), contentOf(b), now.Add(-age)
	n.dead, n.left = r.lifetime == 0, r.lifetime == 0
	s.prints[n.print] = n
	s.count(n, +1)
	if n.dead {
		n.since = now
	} else if end := n.expires(); s.next.IsZero() || end.Before(s.next) {
		s.next = end
	}
	return n, wasDead != n.dead || content != n.content
}

// count adds a live node to the totals, or takes it off.
func (s *store) count(n *node, sign int) {
	if n.dead {
		return
	}
	s.live += sign
	s.hash ^= n.content
	if len(n.addresses) > 0 {
		s.buckets[n.bucket] += sign
	}
}

func (s *store) unprint(fp fingerprint, n *node) {
	if s.prints[fp] == n {
		delete(s.prints, fp)
	}
}

// expire declares dead the live nodes whose lifetime has passed, but for those
// that spare says are alive, and returns them in the order of their IDs.
func (s *store) expire(now time.Time, spare func(identity.NodeID) bool) []*node {
	if s.next.IsZero() || now.Before(s.next) {
		return nil
	}
	s.next = time.Time{}
	var expired []*node
	for id, n := range s.nodes {
		if n.dead {
			continue
		}
		end := n.expires()
		if !now.Before(end) {
			if !spare(id) {
				expired = append(expired, n)
				continue
			}
			end = now.Add(time.Second)
		}
		if s.next.IsZero() || end.Before(s.next) {
			s.next = end
		}
	}
	slices.SortFunc(expired, byID)
	for _, n := range expired {
		s.count(n, -1)
		n.dead, n.since = true, now
	}
	return expired
}

// bury forgets the dead for good: those that have been dead for longer than
// retention and, of more than limit, those that died first. It returns them.
func (s *store) bury(now time.Time, retention time.Duration, limit int) []*node {
	if s.dead() == 0 {
		return nil
	}
	dead := s.sorted(func(n *node) bool { return n.dead })
	slices.SortStableFunc(dead, func(a, b *node) int { return a.since.Compare(b.since) })
	excess := max(len(dead)-limit, 0)
	i := 0
	for i < len(dead) && (i < excess || now.Sub(dead[i].since) >= retention) {
		n := dead[i]
		delete(s.nodes, n.id)
		s.unprint(n.print, n)
		s.unprint(n.before, n)
		i++
	}
	return dead[:i]
}

// sorted returns the nodes that want says, in the order of their IDs.
func (s *store) sorted(want func(*node) bool) []*node {
	out := make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		if want(n) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, byID)
	return out
}

func isLive(n *node) bool { return !n.dead }

func byID(a, b *node) int { return a.id.Compare(b.id) }
