package kademlia

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// unmeasured stands for the round-trip time of a link that has none yet.
const unmeasured = time.Duration(math.MaxInt64)

func newPeer(id identity.NodeID) *peer {
	p := &peer{id: id, at: wordsOf(id.Key())}
	p.links.Store(new([]link))
	return p
}

func newKnown(id identity.NodeID, self words) *known {
	n := &known{id: id, at: wordsOf(id.Key())}
	for i := range n.away {
		n.away[i] = n.at[i] ^ self[i]
	}
	return n
}

// set adds or updates a link. Only the writer calls it.
func (p *peer) set(l link) {
	if l.rtt <= 0 {
		l.rtt = unmeasured
	}
	links := make([]link, 0, len(*p.links.Load())+1)
	for _, old := range *p.links.Load() {
		if old.conn != l.conn {
			links = append(links, old)
		}
	}
	links = append(links, l)
	slices.SortFunc(links, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.rtt, b.rtt), cmp.Compare(a.conn, b.conn)) // the lower ID is older
	})
	p.links.Store(&links)
}

// unset removes a link. Only the writer calls it.
func (p *peer) unset(id identity.ConnID) {
	links := slices.DeleteFunc(slices.Clone(*p.links.Load()), func(l link) bool { return l.conn == id })
	p.links.Store(&links)
}

// services returns what the newest link says that the node serves.
func (p *peer) services() []identity.ServiceID {
	var newest link
	for _, l := range *p.links.Load() {
		if l.conn > newest.conn {
			newest = l
		}
	}
	return newest.services
}

// other returns the best link other than one, or zero.
func (p *peer) other(in identity.ConnID) identity.ConnID {
	for _, l := range *p.links.Load() {
		if l.conn != in {
			return l.conn
		}
	}
	return 0
}

// via returns the best link, or zero if one of the links is in: what a node
// sent does not go back to it by another link either.
func (p *peer) via(in identity.ConnID) identity.ConnID {
	links := *p.links.Load()
	for i := range links {
		if links[i].conn == in {
			return 0
		}
	}
	if len(links) == 0 {
		return 0
	}
	return links[0].conn
}

// rtt returns the best link's round-trip time, and whether there is a link.
func (p *peer) rtt() (time.Duration, bool) {
	links := *p.links.Load()
	if len(links) == 0 {
		return 0, false
	}
	return links[0].rtt, true
}

// words are the 256 bits of a key or a mask, the first bit on top of words[0].
type words [identity.KeyBits / 64]uint64

func wordsOf(k identity.Key) words {
	return words{
		binary.BigEndian.Uint64(k[0:]), binary.BigEndian.Uint64(k[8:]),
		binary.BigEndian.Uint64(k[16:]), binary.BigEndian.Uint64(k[24:]),
	}
}

// closer reports whether a is nearer to w than b is.
func (w *words) closer(a, b *words) bool {
	for i := range w {
		if da, db := a[i]^w[i], b[i]^w[i]; da != db {
			return da < db
		}
	}
	return false
}

func (w *words) compare(other *words) int { return slices.Compare(w[:], other[:]) }

func (w *words) has(bit int) bool { return w[bit/64]&(1<<(63-bit%64)) != 0 }
func (w *words) set(bit int)      { w[bit/64] |= 1 << (63 - bit%64) }
func (w *words) clear(bit int)    { w[bit/64] &^= 1 << (63 - bit%64) }

// rank counts the bits that are set before one.
func (w *words) rank(bit int) int {
	n := before(w[bit/64], bit%64)
	for _, word := range w[:bit/64] {
		n += ones(word)
	}
	return n
}

// prefix returns how many leading bits two keys share.
func (w *words) prefix(other *words) int {
	for i := range w {
		if x := w[i] ^ other[i]; x != 0 {
			return i*64 + firstBit(x)
		}
	}
	return identity.KeyBits
}

func firstBit(w uint64) int        { return bits.LeadingZeros64(w) }
func ones(w uint64) int            { return bits.OnesCount64(w) }
func before(w uint64, bit int) int { return ones(w &^ (math.MaxUint64 >> bit)) }

// bucketOf returns where the bucket of a node is or belongs, and its prefix
// length.
func (s *snapshot) bucketOf(p *peer) (index, prefix int) {
	prefix = s.at.prefix(&p.at)
	return s.mask.rank(prefix), prefix
}
