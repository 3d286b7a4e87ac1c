package testnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// LoopFree promises that no message to a node comes by the same node twice, as
// the tables of all nodes are at one moment: whether or not it arrives.
//
// It is for Always, and for Eventually. Tables that know of more than their own
// connections may contradict each other for a while; have it in Eventually
// alone for those. In networks of more than 22 nodes it looks at 500 pairs of
// nodes a second, drawn from the seed.
func LoopFree() Invariant {
	return Invariant{"routes are free of loops", func(s *Sim) Watch {
		w := walker{s, rand.New(rand.NewPCG(s.Seed, 0x6c6f6f70))}
		return Watch{Check: func() error {
			return w.eachPair(func(from, to int) error {
				if _, err := w.toNode(from, to); errors.Is(err, errLoop) {
					return err
				}
				return nil
			})
		}}
	}}
}

// Reachable promises that a message from any node that is up to any other
// arrives, as the tables of all nodes are at one moment.
//
// It is for Eventually, for networks whose tables lead everywhere: static ones
// that say so, and Kademlia where each node has a connection into every bucket
// that is not empty. That is a Mesh, or what package discovery arrives at once
// all nodes know each other. Looks at as many pairs as LoopFree.
func Reachable() Invariant {
	return Invariant{"every node reaches every other", func(s *Sim) Watch {
		w := walker{s, rand.New(rand.NewPCG(s.Seed, 0x7265616368))}
		return Watch{Check: func() error {
			return w.eachPair(func(from, to int) error {
				if !s.Up(from) || !s.Up(to) {
					return nil
				}
				if _, err := w.toNode(from, to); !errors.Is(err, errHalf) {
					return err
				}
				return nil
			})
		}}
	}}
}

// OneOwner promises that a key has one owner: from wherever a message to the key
// starts, it ends at the node that is closest to it, by XOR, among those that
// are up.
//
// It is for Eventually, where Reachable is, and with the table Kademlia. It
// looks at 64 keys, drawn from the seed.
func OneOwner() Invariant {
	return Invariant{"every key has one owner", func(s *Sim) Watch {
		w := walker{s, rand.New(rand.NewPCG(s.Seed, 0x6f776e6572))}
		return Watch{Check: func() error {
			for range ownedKeys {
				if err := w.oneOwner(); err != nil {
					return err
				}
			}
			return nil
		}}
	}}
}

const (
	ownedKeys = 64
	allPairs  = 22 // nodes up to which every pair is looked at
	somePairs = 500
)

var (
	errLoop = errors.New("the way is a loop")
	// errHalf: the connection is about to close, or has just opened. That it does
	// not remain so is for NoLeaks to see.
	errHalf = errors.New("only one end has the connection")
)

// A walker goes the ways that messages would go.
type walker struct {
	s   *Sim
	rng *rand.Rand
}

// eachPair calls f for pairs of nodes of which the first is up.
func (w *walker) eachPair(f func(from, to int) error) error {
	n := len(w.s.nodes)
	for k := range min(n*n, somePairs) {
		from, to := k/n, k%n
		if n > allPairs {
			from, to = w.rng.IntN(n), w.rng.IntN(n)
		}
		if from == to || !w.s.Up(from) {
			continue
		}
		if err := f(from, to); err != nil {
			return err
		}
	}
	return nil
}

// toNode walks from one node to another, and says why it does not get there.
func (w *walker) toNode(from, to int) (way []int, err error) {
	dest := w.s.nodes[to].Key.ID()
	way, err = w.walk(from, func(t router.Table, in identity.ConnID) router.Action { return t.PathToNode(dest, in) })
	if err == nil && way[len(way)-1] != to {
		err = errors.New("it ends elsewhere")
	}
	if err != nil {
		err = concerning(way, 0, "from node %d to node %d: %s: %w", from, to, wayString(way), err)
	}
	return way, err
}

// walk goes where tables say, from a node on, until one of them delivers.
func (w *walker) walk(from int, next func(t router.Table, in identity.ConnID) router.Action) (way []int, err error) {
	var in identity.ConnID
	seen := make(map[int]bool)
	for at := from; ; {
		way = append(way, at)
		if seen[at] {
			return way, errLoop
		}
		seen[at] = true
		if !w.s.Up(at) {
			return way, errors.New("it is down")
		}
		action := next(w.s.nodes[at].Table, in)
		switch {
		case action.IsDeliver():
			return way, nil
		case action.IsReject():
			return way, errors.New("no way on")
		}
		c := connOf(w.s.stateOf(at), action.Conn())
		if c == nil {
			return way, fmt.Errorf("it forwards over connection %d, which is not open", action.Conn())
		}
		to := w.s.index(c.Node)
		if in = 0; to >= 0 && w.s.Up(to) {
			other := otherEnd(w.s.stateOf(to), c)
			if other == nil {
				return append(way, to), errHalf
			}
			in = other.ID
		}
		if to < 0 {
			return way, errors.New("it forwards to a node of another network")
		}
		at = to
	}
}

func wayString(way []int) string {
	var b strings.Builder
	for i, at := range way {
		if i > 0 {
			b.WriteString(" → ")
		}
		fmt.Fprint(&b, at)
	}
	return b.String()
}

// oneOwner draws a key and walks to it from everywhere.
func (w *walker) oneOwner() error {
	var key identity.Key
	for i := range key {
		key[i] = byte(w.rng.Uint32())
	}
	owner := -1
	for i, n := range w.s.nodes {
		if w.s.Up(i) && (owner < 0 || key.Closer(n.Key.ID().Key(), w.s.nodes[owner].Key.ID().Key())) {
			owner = i
		}
	}
	for from := range w.s.nodes {
		if !w.s.Up(from) {
			continue
		}
		way, err := w.walk(from, func(t router.Table, in identity.ConnID) router.Action { return t.PathToKey(key, in) })
		if errors.Is(err, errHalf) {
			continue
		}
		if err == nil && way[len(way)-1] != owner {
			err = fmt.Errorf("node %d is closer", owner)
		}
		if err != nil {
			return concerning(way, 0, "key %v, from node %d: %s: %w", identity.NodeID(key).Short(), from, wayString(way), err)
		}
	}
	return nil
}
