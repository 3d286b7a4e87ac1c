package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// quiet is a backend that does nothing, and a clock that stands still.
type quiet struct{}

func (quiet) Now() time.Time                                { return epoch }
func (quiet) Send(agent.Outgoing) error                     { return nil }
func (quiet) Do(agent.Op) error                             { return nil }
func (quiet) Ready(router.Route) <-chan struct{}            { return nil }
func (quiet) Conns() []conn.Info                            { return nil }
func (quiet) Stats(identity.ConnID) (s conn.Stats, ok bool) { return s, false }

// lockedSource is a source that several goroutines may use.
type lockedSource struct {
	mu  sync.Mutex
	src rand.Source
}

func (l *lockedSource) Uint64() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.src.Uint64()
}

func quietEnv(self identity.NodeID) agent.Env {
	return agent.Env{Self: self, Service: Service, Clock: quiet{}, Source: &lockedSource{src: rand.NewPCG(1, 1)},
		Log: slog.New(slog.DiscardHandler), Context: context.Background(), Backend: quiet{}}
}

// page packs raw entries into one message.
func page(raws ...[]byte) []byte {
	var w entriesWriter
	for _, raw := range raws {
		w.add(raw)
	}
	return w.buf
}

// TestForgery: what is not signed by its writer, for this domain, is never
// visible and never passed on.
func TestForgery(t *testing.T) {
	s := newSim(t, 40)
	victim, bad, other := s.add(Config{Domain: "map"}), s.add(Config{Domain: "map"}), s.add(Config{Domain: "map"})
	for _, n := range s.nodes {
		n.sign, n.verify = identity.PrivateKey.Sign, identity.NodeID.Verify // the real ones
	}
	s.connect(bad, victim)
	s.connect(victim, other)
	s.run(time.Second)
	stamp := stampOf(s.now)
	good := seal(other.key, other.sign, "map", "k", []byte("v"), false, stamp).raw
	alter := func(at int, by byte) []byte {
		raw := bytes.Clone(good)
		raw[at] ^= by
		return raw
	}
	for name, raw := range map[string][]byte{
		"stamp":        alter(5, 1),
		"writer":       slices.Concat(good[:10], idOf(bad.key), good[42:]),
		"value":        alter(entryHead+1, 1),
		"key":          alter(entryHead, 1),
		"signature":    alter(len(good)-1, 1),
		"other domain": seal(other.key, other.sign, "another map", "k", []byte("v"), false, stamp).raw,
		"no domain":    seal(other.key, other.sign, "", "k", []byte("v"), false, stamp).raw,
	} {
		before := victim.stats().Forged
		victim.give(bad, kindEntries, page(raw))
		s.run(time.Second)
		if victim.stats().Forged != before+1 || victim.stats().Keys+victim.stats().Tombstones+other.stats().Keys != 0 {
			t.Errorf("%s altered: not refused: %+v", name, victim.stats())
		}
	}
	tomb := alter(1, flagTombstone) // a tombstone has no value
	victim.give(bad, kindEntries, page(tomb))
	if victim.stats().Malformed != 1 {
		t.Errorf("a tombstone with a value: %+v", victim.stats())
	}
	victim.give(bad, kindEntries, page(good))
	if victim.get("k") != "v" {
		t.Error("the good entry is refused after the forged ones")
	}
}

func idOf(k identity.PrivateKey) []byte { id := k.ID(); return id[:] }

// TestForgedFlood: forged entries cost a bounded number of verifications, and
// other peers are served meanwhile.
func TestForgedFlood(t *testing.T) {
	s := newSim(t, 41)
	victim, bad, good := s.add(Config{}), s.add(Config{}), s.add(Config{})
	checks := 0
	victim.verify = func(id identity.NodeID, msg, sig []byte) bool {
		checks++
		return cheapVerify(id, msg, sig)
	}
	s.connect(bad, victim)
	s.connect(good, victim)
	var forged [][]byte
	for i := range 100 {
		raw := cheap(5, fmt.Sprint("forged", i), "v", false, stampOf(s.now)).raw
		raw[len(raw)-1] ^= 1
		forged = append(forged, raw)
	}
	for i := range 100000 / len(forged) {
		victim.give(bad, kindEntries, page(forged...))
		victim.give(bad, kindEntries, page(forged[i%len(forged)]))
	}
	if checks > 200 {
		t.Errorf("100000 forged entries at once cost %d verifications, want at most 200", checks)
	}
	if err := good.set("k", "v"); err != nil {
		t.Fatal(err)
	}
	s.run(200 * time.Millisecond)
	if victim.get("k") != "v" {
		t.Error("the flood delayed another peer's write")
	}
	if victim.stats().Throttled == 0 {
		t.Error("nothing is counted as throttled")
	}
}

// TestHostileFill: a peer that writes without end fills the replica to its
// limits and no further, and the rest goes on working.
func TestHostileFill(t *testing.T) {
	s := newSim(t, 42)
	cfg := Config{MaxKeys: 100, MaxTombstones: 50, MaxBytes: 1 << 20}
	a, b := s.add(cfg), s.add(cfg)
	bad := s.add(Config{MaxKeys: 1 << 20})
	for k := range 10 {
		if err := a.set(fmt.Sprint("honest", k), "v"); err != nil {
			t.Fatal(err)
		}
	}
	s.connect(a, b)
	s.run(3 * time.Second)
	s.connect(bad, a)
	for k := range 3000 {
		if err := bad.set(fmt.Sprint("fill", k), strings.Repeat("x", s.rand.IntN(30000))); err != nil {
			t.Fatal(err)
		}
		if k%3 == 0 {
			bad.del(fmt.Sprint("fill", s.rand.IntN(k+1)))
		}
		if k%100 == 0 {
			s.run(time.Second)
		}
	}
	s.run(20 * time.Second)
	for i, n := range []*simNode{a, b} {
		got := n.stats()
		if got.Keys > 100 || got.Tombstones > 50 || got.Bytes > 1<<20 {
			t.Errorf("node %d exceeds its limits: %+v", i, got)
		}
		if n == a && got.Overflow == 0 {
			t.Errorf("nothing is counted as overflow: %+v", got)
		}
		for k := range 10 {
			if n.get(fmt.Sprint("honest", k)) != "v" {
				t.Errorf("node %d lost an honest key", i)
			}
		}
		n.checkBooks()
	}
	var le *LimitError
	if err := a.set("one more", strings.Repeat("x", MaxValue)); !errors.As(err, &le) {
		t.Errorf("a local write at the limit: %v, want a *LimitError", err)
	}
	if err := a.set("honest1", "w"); err != nil {
		t.Errorf("a local write of a key that is there: %v", err)
	}
	before := a.bytes + b.bytes
	s.run(10 * time.Second)
	if rate := (a.bytes + b.bytes - before) / 10; rate > 64<<10 {
		t.Errorf("replicas that cannot agree send %d bytes a second", rate)
	} else {
		t.Logf("replicas that cannot agree send %d bytes a second", rate)
	}
}

// TestGreedyPeer: what a peer can make a replica send is bounded.
func TestGreedyPeer(t *testing.T) {
	s := newSim(t, 43)
	a, bad := s.add(Config{}), s.add(Config{})
	for k := range 100 {
		a.set(fmt.Sprint(k), strings.Repeat("x", MaxValue))
	}
	s.connect(bad, a)
	s.run(time.Second)
	w := newItemsWriter(false)
	w.open(whole.from)
	w.close(whole.to)
	before := s.sentBytes
	for range 1000 {
		a.give(bad, kindItems, w.buf)
		a.give(bad, kindRoot, appendRoot(nil, [32]byte{}))
	}
	if sent := s.sentBytes - before; sent > replyBurst {
		t.Errorf("a greedy peer got %d bytes at once, want at most %d", sent, replyBurst)
	}
}

// TestEndlessPull: a peer that claims to have ever more does not keep a replica
// from pulling from others.
func TestEndlessPull(t *testing.T) {
	s := newSim(t, 44)
	a, bad, good := s.add(Config{}), s.add(Config{}), s.add(Config{})
	s.connect(bad, a)
	id := s.connect(good, a)
	good.links[id].room = 0 // nothing is pushed
	for k := range 50 {
		good.set(fmt.Sprint(k), "v")
	}
	s.run(time.Second)
	good.links[id].room = -1
	var w entriesWriter
	w.more(whole)
	for range 600 {
		a.give(bad, kindEntries, w.buf)
		s.run(50 * time.Millisecond)
	}
	if a.stats().Keys != 50 {
		t.Errorf("%d of 50 keys arrived in 30 s beside a peer that is never done", a.stats().Keys)
	}
}

// TestBadMessages: everything that is not the protocol is counted and ignored.
func TestBadMessages(t *testing.T) {
	s := newSim(t, 45)
	a, b := s.add(Config{}), s.add(Config{})
	id := s.connect(b, a)
	good := cheap(1, "k", "v", false, stampOf(s.now)).raw
	other := bytes.Clone(good)
	other[0] = 9
	long := append(page(good), 0)
	items := newItemsWriter(false)
	items.open(whole.from)
	items.add(item{hash: keyHash{5}})
	items.add(item{hash: keyHash{5}})
	items.close(whole.to)
	for _, c := range []struct {
		name    string
		kind    conn.Kind
		payload []byte
		counter func(Stats) uint64
	}{
		{"unknown kind", 99, nil, func(s Stats) uint64 { return s.Malformed }},
		{"empty", kindEntries, nil, func(s Stats) uint64 { return s.Malformed }},
		{"version", kindEntries, []byte{2, 0}, func(s Stats) uint64 { return s.Version }},
		{"version of root", kindRoot, make([]byte, 33), func(s Stats) uint64 { return s.Version }},
		{"flags", kindEntries, []byte{version, 3}, func(s Stats) uint64 { return s.Malformed }},
		{"entry version", kindEntries, page(other), func(s Stats) uint64 { return s.Version }},
		{"entry cut short", kindEntries, page(good[:50]), func(s Stats) uint64 { return s.Malformed }},
		{"page cut short", kindEntries, long, func(s Stats) uint64 { return s.Malformed }},
		{"huge entry", kindEntries, []byte{version, 0, 0xff, 0xff, 0xff, 0xff}, func(s Stats) uint64 { return s.Malformed }},
		{"span cut short", kindEntries, []byte{version, flagMore, 1}, func(s Stats) uint64 { return s.Malformed }},
		{"short root", kindRoot, []byte{version, 1}, func(s Stats) uint64 { return s.Malformed }},
		{"short buckets", kindBuckets, []byte{version, 1}, func(s Stats) uint64 { return s.Malformed }},
		{"items twice", kindItems, items.buf, func(s Stats) uint64 { return s.Malformed }},
		{"odd want", kindWant, []byte{version, 1, 2}, func(s Stats) uint64 { return s.Malformed }},
		{"want twice", kindWant, append([]byte{version}, make([]byte, 32)...), func(s Stats) uint64 { return s.Malformed }},
		{"oversize", kindWant, append([]byte{version}, make([]byte, 1<<20)...), func(s Stats) uint64 { return s.Malformed }},
	} {
		before := c.counter(a.stats())
		a.give(b, c.kind, c.payload)
		if got := c.counter(a.stats()); got != before+1 {
			t.Errorf("%s: counted %d times, want once: %+v", c.name, got-before, a.stats())
		}
	}
	if a.get("k") != "v" {
		t.Error("the good entry before the end of a cut page is not taken")
	}
	// Messages from elsewhere than the peer itself.
	root := appendRoot(nil, [32]byte{})
	for _, m := range []*conn.Message{
		{Kind: kindRoot, From: b.key.ID(), Conn: 77, Payload: root},
		{Kind: kindRoot, From: a.key.ID(), Conn: b.links[id].remote, Payload: root},
		{Kind: kindRoot, From: a.key.ID(), Payload: root},
	} {
		before := a.stats().Stray
		a.OnMessage(a.agent, m)
		if a.stats().Stray != before+1 {
			t.Error("a message from elsewhere is not counted")
		}
	}
}

// TestAllow: who may write what is asked on both ends.
func TestAllow(t *testing.T) {
	s := newSim(t, 46)
	boss := testKey(0).ID()
	allow := func(writer identity.NodeID, key string) bool {
		return writer == boss || !strings.HasPrefix(key, "config/")
	}
	a, b, cheat := s.add(Config{Allow: allow}), s.add(Config{Allow: allow}), s.add(Config{})
	s.connect(a, b)
	s.connect(cheat, b)
	s.run(time.Second)
	if err := b.set("config/x", "v"); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	for n, key := range map[*simNode]string{a: "config/x", b: "b", cheat: "config/y"} {
		if err := n.set(key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	s.run(5 * time.Second)
	if got := fmt.Sprint(a.Keys("")); got != "[b config/x]" {
		t.Errorf("node a has %v", got)
	}
	if b.stats().Denied == 0 || b.get("config/y") != "" {
		t.Errorf("a denied write was taken: %+v", b.stats())
	}
}
