package kademlia

import (
	"math/rand/v2"
	"testing"

	"github.com/plexus-net/plexus/identity"
)

// place makes a snapshot with self and neighbours at chosen keys; the neighbour
// i has the connection i+1.
func place(self identity.Key, neighbours ...identity.Key) *snapshot {
	s := &snapshot{at: wordsOf(self)}
	for i, k := range neighbours {
		p := newPeer(id(i + 1))
		p.at = wordsOf(k)
		p.set(link{conn: identity.ConnID(i + 1)})
		s.addPeer(p)
	}
	return s
}

func (s *snapshot) find(k identity.Key, in identity.ConnID) identity.ConnID {
	to := wordsOf(k)
	return s.closer(&to, in)
}

// RT-11 of the reference: the closest of the slots 1, 5 and 40.
func TestClosestInBucket(t *testing.T) {
	at := func(b byte) identity.Key { return identity.Key{0, b} }
	s := place(identity.Key{1}, at(1), at(5), at(40)) // self is farther from all
	for _, tt := range []struct {
		key  byte
		in   identity.ConnID
		want identity.ConnID
	}{
		{0, 0, 1}, {3, 0, 1}, {3, 1, 2}, {4, 0, 2}, {20, 0, 2}, {40, 0, 3}, {41, 0, 3}, {254, 0, 3}, {254, 3, 2},
	} {
		if got := s.find(at(tt.key), tt.in); got != tt.want {
			t.Errorf("closest to %d, not %d: %d, want %d", tt.key, tt.in, got, tt.want)
		}
	}
	if got := place(identity.Key{1}).find(at(3), 0); got != 0 {
		t.Errorf("without neighbours: %d, want none", got)
	}
}

// RT-16 and RT-17: what is closest in the layers of the reference is closest
// in the XOR space too. 0 is the node itself.
func TestClosestNode(t *testing.T) {
	k := func(a, b, c, d byte) identity.Key { return identity.Key{a, b, c, d} }
	sparse := place(k(0, 0, 0, 1), k(5, 0, 0, 1), k(0, 5, 0, 1))
	dense := place(k(1, 0, 0, 1), k(1, 0, 0, 2), k(1, 0, 0, 3))
	for _, tt := range []struct {
		s    *snapshot
		key  identity.Key
		want identity.ConnID
	}{
		{sparse, k(1, 0, 0, 0), 0},
		{sparse, k(4, 0, 0, 0), 1},
		{sparse, k(6, 0, 0, 0), 1},
		{sparse, k(0, 1, 0, 0), 0},
		{sparse, k(0, 6, 0, 0), 2},
		{sparse, k(2, 1, 0, 0), 0},
		{sparse, k(2, 6, 0, 0), 2},
		{dense, k(1, 0, 0, 0), 0},
		{dense, k(4, 0, 0, 0), 0},
		{dense, k(6, 0, 0, 0), 0},
		{dense, k(0, 1, 0, 1), 0},
		{dense, k(0, 6, 0, 2), 1},
		{dense, k(2, 1, 0, 3), 2},
		{dense, k(2, 6, 0, 4), 0},
	} {
		if got := tt.s.find(tt.key, 0); got != tt.want {
			t.Errorf("closest to %v: %d, want %d", tt.key[:4], got, tt.want)
		}
	}
}

// The search through buckets finds what a look at every neighbour finds, with
// keys that share long prefixes, so that all four words and ties in the first
// ones matter.
func TestClosestIsClosest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	near := func(k identity.Key) identity.Key {
		for range 1 + r.IntN(4) {
			bit := r.IntN(identity.KeyBits)
			k[bit/8] ^= 1 << (bit % 8)
		}
		return k
	}
	for range 300 {
		self := near(identity.Key{})
		neighbours := map[identity.Key]identity.ConnID{}
		var list []identity.Key
		for range r.IntN(40) {
			if k := near(self); k != self && neighbours[k] == 0 {
				list = append(list, k)
				neighbours[k] = identity.ConnID(len(list))
			}
		}
		s := place(self, list...)
		for range 20 {
			key, in := near(self), identity.ConnID(r.IntN(len(list)+1))
			best, want := self, identity.ConnID(0)
			for k, c := range neighbours {
				if c != in && key.Closer(k, best) {
					best, want = k, c
				}
			}
			if got := s.find(key, in); got != want {
				t.Fatalf("self %v, neighbours %v: closest to %v, not %d: %d, want %d", self, list, key, in, got, want)
			}
		}
	}
}
