package main

import (
	"bytes"
	"slices"
	"sort"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/testnet"
)

// wire connects the nodes as the buckets of Kademlia want it: each node has a
// connection, made by either end, into the half of the key space that it is not
// in, into the quarter next to its own, the eighth, and so on. That is what it
// takes to find every key greedily.
func (m *meter) wire(s *testnet.Sim) error {
	m.sortByKey()
	return m.wirePart(s, m.byKey, 0)
}

// sortByKey notes the nodes in the order of their keys.
func (m *meter) sortByKey() {
	m.byKey = make([]int, len(m.keys))
	for i := range m.byKey {
		m.byKey[i] = i
	}
	slices.SortFunc(m.byKey, func(a, b int) int { return bytes.Compare(m.keys[a][:], m.keys[b][:]) })
}

// wirePart connects nodes that share the bits before bit, in the order of their
// keys.
func (m *meter) wirePart(s *testnet.Sim, nodes []int, bit int) error {
	if len(nodes) < 2 {
		return nil
	}
	left, right := m.halves(nodes, bit)
	connect := func(from, to int) error {
		m.edges++
		return s.Node(from).Add(s.Node(to).Address())
	}
	chosen := make(map[int]bool)
	for _, from := range left {
		if len(right) == 0 {
			break
		}
		to := right[s.Rand().IntN(len(right))]
		chosen[to] = true
		if err := connect(from, to); err != nil {
			return err
		}
	}
	for _, from := range right {
		if len(left) == 0 || chosen[from] {
			continue
		}
		if err := connect(from, left[s.Rand().IntN(len(left))]); err != nil {
			return err
		}
	}
	if err := m.wirePart(s, left, bit+1); err != nil {
		return err
	}
	return m.wirePart(s, right, bit+1)
}

// halves parts nodes by a bit of their keys.
func (m *meter) halves(nodes []int, bit int) (left, right []int) {
	i := sort.Search(len(nodes), func(i int) bool { return bitOf(m.keys[nodes[i]], bit) })
	return nodes[:i], nodes[i:]
}

func bitOf(k identity.Key, bit int) bool { return k[bit/8]<<(bit%8)&0x80 != 0 }

// owner returns the node of a wired network that is closest to a key.
func (m *meter) owner(key identity.Key) identity.NodeID {
	nodes := m.byKey
	for bit := 0; len(nodes) > 1; bit++ {
		near, other := m.halves(nodes, bit)
		if bitOf(key, bit) {
			near, other = other, near
		}
		if len(near) == 0 {
			near = other
		}
		nodes = near
	}
	return m.ids[nodes[0]]
}
