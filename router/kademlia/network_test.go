package kademlia

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A network is nodes with tables, and who is at the end of which connection.
type network struct {
	ids    []identity.NodeID
	index  map[identity.NodeID]int
	tables []*Table
	ends   []map[identity.ConnID]int // by node and connection
	conns  []map[int]identity.ConnID // by node and node
}

func newNetwork(r *rand.Rand, n int) *network {
	w := &network{index: map[identity.NodeID]int{}}
	for i := range n {
		self := id(int(r.Uint32()))
		w.index[self] = i
		w.ids = append(w.ids, self)
		w.tables = append(w.tables, New(self))
		w.ends = append(w.ends, map[identity.ConnID]int{})
		w.conns = append(w.conns, map[int]identity.ConnID{})
	}
	return w
}

// connect links two nodes, unless they are linked.
func (w *network) connect(a, b int) {
	if a == b || w.conns[a][b] != 0 {
		return
	}
	for _, p := range [][2]int{{a, b}, {b, a}} {
		from, to := p[0], p[1]
		c := identity.ConnID(len(w.ends[from]) + 1)
		w.ends[from][c], w.conns[from][to] = to, c
		w.tables[from].AddLink(router.Link{Conn: c, Node: w.ids[to]})
	}
}

// fill gives every node a link into each bucket that has nodes.
func (w *network) fill(r *rand.Rand) {
	for a := range w.ids {
		buckets := map[int][]int{}
		for b := range w.ids {
			if p := w.ids[a].Key().CommonPrefix(w.ids[b].Key()); a != b {
				buckets[p] = append(buckets[p], b)
			}
		}
		for p := range identity.KeyBits {
			if nodes := buckets[p]; len(nodes) > 0 {
				w.connect(a, nodes[r.IntN(len(nodes))])
			}
		}
	}
}

// follow takes a route from node to node to where it ends. Each hop must be
// strictly closer to the key, if there is one.
func (w *network) follow(from int, route router.Route, key *identity.Key) (end int, delivered bool, hops int, err error) {
	var in identity.ConnID
	for at := from; ; hops++ {
		a := router.PathTo(w.tables[at], route, in)
		switch {
		case a.IsDeliver():
			return at, true, hops, nil
		case a.IsReject():
			return at, false, hops, nil
		case a.Conn() == in:
			return at, false, hops, fmt.Errorf("goes back after %d hops", hops)
		case hops > len(w.ids):
			return at, false, hops, fmt.Errorf("loops")
		}
		next, ok := w.ends[at][a.Conn()]
		if !ok {
			return at, false, hops, fmt.Errorf("forwards over unknown connection %d", a.Conn())
		}
		if key != nil && !key.Closer(w.ids[next].Key(), w.ids[at].Key()) {
			return at, false, hops, fmt.Errorf("hop %d comes no closer", hops)
		}
		in, at = w.conns[next][at], next
	}
}

// With a link into each bucket that has nodes, every node reaches every node,
// and every key ends at the node that is closest of all.
func TestEveryNodeReachesEveryNode(t *testing.T) {
	for _, size := range []int{2, 3, 10, 120} {
		r := rand.New(rand.NewPCG(uint64(size), 7))
		w := newNetwork(r, size)
		w.fill(r)
		most, sum := 0, 0
		for from := range w.ids {
			for to := range w.ids {
				key := w.ids[to].Key()
				end, ok, hops, err := w.follow(from, router.ToNode(w.ids[to]), &key)
				if end != to || !ok || err != nil {
					t.Fatalf("%d nodes: route from %d to %d ends at %d, delivered %t: %v", size, from, to, end, ok, err)
				}
				most, sum = max(most, hops), sum+hops
			}
		}
		t.Logf("%d nodes: %.2f hops on average, %d at most", size, float64(sum)/float64(size*size), most)
		for i := range 50 {
			key := identity.KeyOf([]byte{byte(i), byte(size)})
			owner := 0
			for n := range w.ids {
				if key.Closer(w.ids[n].Key(), w.ids[owner].Key()) {
					owner = n
				}
			}
			for from := range w.ids {
				if end, ok, _, err := w.follow(from, router.ToKey(key), &key); end != owner || !ok || err != nil {
					t.Fatalf("%d nodes: key from %d ends at %d, delivered %t, want %d: %v", size, from, end, ok, owner, err)
				}
			}
		}
	}
}

// In any network whatever, routes end: nodes at the node or with a reject, keys
// with a delivery, and every hop is closer than the one before.
func TestNoRouteLoops(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := newNetwork(r, 2+r.IntN(40))
		for range r.IntN(3 * len(w.ids)) {
			w.connect(r.IntN(len(w.ids)), r.IntN(len(w.ids)))
		}
		for from := range w.ids {
			for to := range w.ids {
				key := w.ids[to].Key()
				if end, ok, _, err := w.follow(from, router.ToNode(w.ids[to]), &key); err != nil || ok && end != to {
					t.Fatalf("seed %d: route from %d to %d ends at %d: %v", seed, from, to, end, err)
				}
			}
			key := identity.KeyOf([]byte{byte(seed), byte(from)})
			if _, ok, _, err := w.follow(from, router.ToKey(key), &key); err != nil || !ok {
				t.Fatalf("seed %d: key from %d is delivered %t: %v", seed, from, ok, err)
			}
		}
	}
}

// With directories that agree, a service is found from everywhere, hop by hop
// and by the node that its origin settles on.
func TestServicesAreFound(t *testing.T) {
	const service = 70
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 11))
		w := newNetwork(r, 60)
		w.fill(r)
		serves := map[int]bool{}
		for range 1 + r.IntN(8) {
			serves[r.IntN(len(w.ids))] = true
		}
		for provider := range serves {
			w.tables[provider].SetLocal([]identity.ServiceID{service})
			for at, table := range w.tables {
				table.SetNode(w.ids[provider], []identity.ServiceID{service})
				if c := w.conns[at][provider]; c != 0 {
					table.AddLink(router.Link{Conn: c, Node: w.ids[provider], Services: []identity.ServiceID{service}})
				}
			}
		}
		for from := range w.ids {
			end, ok, _, err := w.follow(from, router.ToService(service), nil)
			if err != nil || !ok || !serves[end] {
				t.Fatalf("seed %d: service from %d ends at %d, delivered %t: %v", seed, from, end, ok, err)
			}
			node, ok := w.tables[from].ResolveService(service)
			if !ok || !serves[w.index[node]] {
				t.Fatalf("seed %d: node %d resolves the service to %d, %t", seed, from, w.index[node], ok)
			}
			end, ok, _, err = w.follow(from, router.ToNode(node), nil)
			if err != nil || !ok || w.ids[end] != node {
				t.Fatalf("seed %d: route from %d to provider %d ends at %d: %v", seed, from, w.index[node], end, err)
			}
		}
	}
}
