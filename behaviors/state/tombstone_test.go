package state

import (
	"fmt"
	"testing"
	"time"
)

// TestDeletedStaysDeleted: a node that missed the deletion, and holds the old
// value, does not bring it back within the grace, and learns of the deletion.
func TestDeletedStaysDeleted(t *testing.T) {
	s := newSim(t, 20)
	for range 6 {
		s.add(Config{Grace: 10 * time.Minute})
	}
	s.mesh(3)
	for k := range 40 {
		if err := s.nodes[k%6].set(fmt.Sprint(k), "v"); err != nil {
			t.Fatal(err)
		}
	}
	s.mustConverge(5 * time.Second)
	s.partition(func(i int) int { return min(i, 1) }) // node 0 is away
	for k := range 20 {
		if err := s.nodes[1+k%5].del(fmt.Sprint(k)); err != nil {
			t.Fatal(err)
		}
	}
	s.run(9 * time.Minute)
	s.heal()
	for range 100 {
		s.run(200 * time.Millisecond)
		for i, n := range s.nodes[1:] {
			for k := range 20 {
				if n.get(fmt.Sprint(k)) != "" {
					t.Fatalf("deleted key %d is back on node %d", k, i+1)
				}
			}
		}
	}
	s.mustConverge(5 * time.Second)
	if got := s.nodes[0].stats(); got.Keys != 20 || got.Tombstones != 20 {
		t.Errorf("the node that was away holds %d keys and %d tombstones, want 20 and 20", got.Keys, got.Tombstones)
	}
}

// TestTombstonesEnd: after the grace, and only then, tombstones are forgotten
// by all, although clocks differ a little.
func TestTombstonesEnd(t *testing.T) {
	s := newSim(t, 21)
	for i := range 4 {
		s.add(Config{Grace: time.Minute}).skew = time.Duration(i) * 700 * time.Millisecond
	}
	s.mesh(3)
	for k := range 100 {
		if err := s.nodes[k%4].set(fmt.Sprint(k), "v"); err != nil {
			t.Fatal(err)
		}
	}
	s.mustConverge(5 * time.Second)
	for k := range 100 {
		if err := s.nodes[k%4].del(fmt.Sprint(k)); err != nil {
			t.Fatal(err)
		}
	}
	s.run(55 * time.Second)
	for i, n := range s.nodes {
		if got := n.stats(); got.Tombstones != 100 || got.Keys != 0 {
			t.Errorf("node %d has %d tombstones and %d keys before the grace ends, want 100 and 0", i, got.Tombstones, got.Keys)
		}
	}
	s.run(15 * time.Second)
	for i, n := range s.nodes {
		if got := n.stats(); got.Tombstones != 0 || got.Bytes != 0 {
			t.Errorf("node %d has %d tombstones and %d bytes after the grace, want none", i, got.Tombstones, got.Bytes)
		}
	}
	s.mustConverge(time.Second)
}

// TestExpiredTombstone: a deletion that is past the grace is not taken up again,
// but still removes an old value.
func TestExpiredTombstone(t *testing.T) {
	s := testStore(t, Config{Grace: time.Minute})
	now := epoch.Add(time.Hour)
	old := stampOf(epoch)
	if err := offer(s, cheap(0, "a", "", true, old), now); err != errExpired {
		t.Errorf("got %v, want errExpired", err)
	}
	offer(s, cheap(0, "b", "v", false, old-1), now)
	if err := offer(s, cheap(0, "b", "", true, old), now); err != nil || s.entries["b"] != nil || s.live+s.dead+s.bytes != 0 {
		t.Errorf("an expired deletion did not remove the value: %v, %+v", err, s.entries["b"])
	}
}

// TestDeleteUnheardOf: deleting a key that this node has not heard of yet wins
// over earlier writes that are still under way.
func TestDeleteUnheardOf(t *testing.T) {
	s := newSim(t, 22)
	a, b := s.add(Config{}), s.add(Config{})
	if err := a.set("k", "v"); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second)
	if err := b.del("k"); err != nil {
		t.Fatal(err)
	}
	s.connect(a, b)
	s.mustConverge(3 * time.Second)
	if a.get("k") != "" {
		t.Error("the key is still there")
	}
}

// TestSkewedWriter: a writer a year ahead does not drag the clocks of others;
// its writes are replicated, can be overwritten, and the same wins everywhere.
func TestSkewedWriter(t *testing.T) {
	s := newSim(t, 23)
	for range 5 {
		s.add(Config{})
	}
	const year = 365 * 24 * time.Hour
	s.nodes[0].skew = year
	s.mesh(3)
	write := func(i int, value string) {
		t.Helper()
		if err := s.nodes[i].set("k", value); err != nil {
			t.Fatal(err)
		}
		s.mustConverge(5 * time.Second)
		for j, n := range s.nodes {
			if n.get("k") != value {
				t.Fatalf("after node %d wrote %s, node %d reads %s", i, value, j, n.get("k"))
			}
		}
	}
	write(0, "ahead")
	write(1, "behind overwrites")
	if s.nodes[2].stats().Ahead == 0 {
		t.Error("writes from the future are not counted")
	}
	if err := s.nodes[1].set("other", "v"); err != nil {
		t.Fatal(err)
	}
	if got := s.nodes[1].store.entries["other"].stamp.Time(); got.Sub(s.now) > 5*time.Second {
		t.Errorf("the clock of node 1 was dragged to %v", got)
	}
	s.nodes[0].skew = -time.Hour // repaired, and more
	write(0, "repaired")
	write(2, "last")
	if err := s.nodes[0].set("fresh", "v"); err != nil {
		t.Fatal(err)
	}
	if got := s.nodes[0].store.entries["fresh"].stamp.Time(); got.After(s.now) {
		t.Errorf("the repaired clock still stamps %v", got)
	}
}
