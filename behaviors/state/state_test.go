package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/identity"
)

func TestSetGetDelete(t *testing.T) {
	s := newSim(t, 50)
	n := s.add(Config{})
	ctx := t.Context()
	value := []byte("v")
	for key, v := range map[string][]byte{"b": value, "a": {}, "ab": []byte("w")} {
		if err := n.Set(ctx, key, v); err != nil {
			t.Fatal(err)
		}
	}
	value[0] = 'x'
	if v, ok := n.Get("b"); !ok || string(v) != "v" {
		t.Errorf("Get gave %q, %v: Set must copy", v, ok)
	} else if v[0] = 'x'; n.get("b") != "v" {
		t.Error("Get must copy")
	}
	if v, ok := n.Get("a"); !ok || v == nil || len(v) != 0 {
		t.Errorf("the empty value: %v, %v", v, ok)
	}
	if got := fmt.Sprint(n.Keys("a"), n.Keys(""), n.Keys("z")); got != "[a ab] [a ab b] []" {
		t.Error(got)
	}
	for key, v := range n.Range("") { // writing meanwhile changes nothing
		if err := n.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
		v = append(v, 'x')
		_ = v
	}
	if _, ok := n.Get("b"); ok || len(n.Keys("")) != 0 {
		t.Error("deleted keys are there")
	}
	if got := n.stats(); got.Written != 6 || got.Keys != 0 || got.Tombstones != 3 {
		t.Errorf("%+v", got)
	}
	for range n.Range("") {
		t.Error("Range over nothing")
	}
}

func TestSetErrors(t *testing.T) {
	s := newSim(t, 51)
	n := s.add(Config{})
	ctx := t.Context()
	limit := func(name string, err error) {
		t.Helper()
		var le *LimitError
		if !errors.As(err, &le) || le.Limit != name || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want a *LimitError of %s that names it", err, name)
		}
	}
	limit("key size", n.set(strings.Repeat("k", MaxKey+1), "v"))
	limit("value size", n.set("k", strings.Repeat("v", MaxValue+1)))
	for _, key := range []string{"", "a\x00b", "a\xffb"} {
		if n.set(key, "v") == nil || n.del(key) == nil {
			t.Errorf("key %q is taken", key)
		}
	}
	if err := n.set(strings.Repeat("k", MaxKey), strings.Repeat("v", MaxValue)); err != nil {
		t.Errorf("the largest entry: %v", err)
	}
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("enough"))
	if err := n.Set(ended, "k", nil); err == nil || err.Error() != "enough" {
		t.Errorf("with an ended context: %v", err)
	}
	if err := New(Config{Key: n.key}).Set(ctx, "k", nil); err != ErrNotRunning {
		t.Errorf("before the start: %v", err)
	}
	reader := s.add(Config{})
	reader.cfg.Key = identity.PrivateKey{}
	if err := reader.set("k", "v"); err != ErrNoKey {
		t.Errorf("without a key: %v", err)
	}
	e := cheap(3, "pinned", "v", false, maxStamp)
	s.connect(reader, n)
	n.give(reader, kindEntries, page(e.raw))
	limit("stamp", n.set("pinned", "mine"))
	n.OnStop(n.agent)
	if err := n.set("k", "v"); err != ErrNotRunning {
		t.Errorf("after the stop: %v", err)
	}
	if n.get("pinned") != "v" {
		t.Error("after the stop nothing can be read")
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"MaxKeys", Config{MaxKeys: -1}}, {"MaxBytes", Config{MaxBytes: -1}}, {"MaxTombstones", Config{MaxTombstones: -1}},
		{"Grace", Config{Grace: -time.Second}}, {"MaxSkew", Config{MaxSkew: 1}}, {"Interval", Config{Interval: -1}}, {"Batch", Config{Batch: 1}},
		{"Fanout", Config{Fanout: -1}}, {"WatchQueue", Config{WatchQueue: -1}}, {"Domain", Config{Domain: strings.Repeat("d", 65)}},
	} {
		a := agent.NewBehavior(quietEnv(testKey(0).ID()))
		if err := New(c.cfg).OnStart(a); err == nil || !strings.Contains(err.Error(), "Config."+c.name) {
			t.Errorf("%s: got %v, want an error that names it", c.name, err)
		}
	}
}

// TestConcurrentWrites: of two writes at the same time the same one wins
// everywhere, and readers never see neither.
func TestConcurrentWrites(t *testing.T) {
	s := newSim(t, 52)
	a, b := s.add(Config{}), s.add(Config{})
	s.connect(a, b)
	s.run(time.Second)
	for i := range 50 {
		if err := errors.Join(a.set("k", fmt.Sprint("a", i)), b.set("k", fmt.Sprint("b", i))); err != nil {
			t.Fatal(err)
		}
		s.run(200 * time.Millisecond)
		if got := a.get("k"); got != b.get("k") || got != fmt.Sprint("a", i) && got != fmt.Sprint("b", i) {
			t.Fatalf("%q here, %q there", got, b.get("k"))
		}
	}
}

// TestEquivocation: a writer that gives one stamp two values, as an impostor
// with its key may, divides nobody.
func TestEquivocation(t *testing.T) {
	s := newSim(t, 53)
	a, b, bad := s.add(Config{}), s.add(Config{}), s.add(Config{})
	s.connect(bad, a)
	s.connect(bad, b)
	stamp := stampOf(s.now)
	a.give(bad, kindEntries, page(cheap(2, "k", "one", false, stamp).raw))
	b.give(bad, kindEntries, page(cheap(2, "k", "two", false, stamp).raw))
	s.connect(a, b)
	s.mustConverge(3 * time.Second)
}

// TestRestart: a behaviour that stops pushes what it has, and may start again.
func TestRestart(t *testing.T) {
	s := newSim(t, 54)
	a, b := s.add(Config{Interval: time.Hour}), s.add(Config{Interval: time.Hour})
	id := s.connect(a, b)
	s.run(time.Second)
	if err := a.set("last words", "v"); err != nil {
		t.Fatal(err)
	}
	a.OnStop(a.agent)
	s.run(time.Second)
	if b.get("last words") != "v" {
		t.Error("what was written before the stop did not leave")
	}
	s.disconnect(a, id)
	if err := a.OnStart(a.agent); err != nil {
		t.Fatal(err)
	}
	s.connect(a, b)
	if err := a.set("again", "v"); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second)
	if b.get("again") != "v" {
		t.Error("after a new start nothing is pushed")
	}
	if len(a.peers) != 1 || len(b.peers) != 1 {
		t.Error("peers that are gone are kept")
	}
}

// TestRawIsKept: what a relay passes on is what the writer signed, to the byte.
func TestRawIsKept(t *testing.T) {
	s := newSim(t, 55)
	for range 3 {
		s.add(Config{})
	}
	for _, n := range s.nodes {
		n.sign, n.verify = identity.PrivateKey.Sign, identity.NodeID.Verify
	}
	s.connect(s.nodes[0], s.nodes[1])
	s.connect(s.nodes[1], s.nodes[2])
	s.run(time.Second)
	if err := s.nodes[0].set("k", "v"); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second)
	e := s.nodes[2].store.entries["k"]
	if e == nil || !bytes.Equal(e.raw, s.nodes[0].store.entries["k"].raw) || e.writer != s.nodes[0].key.ID() {
		t.Error("the entry changed on its way")
	}
	if s.nodes[2].knows(s.nodes[0]) {
		t.Error("there was no relay")
	}
}

// TestLostTimers: a timer that never comes stops neither pushing nor rounds.
func TestLostTimers(t *testing.T) {
	s := newSim(t, 56)
	a, b := s.add(Config{}), s.add(Config{})
	s.connect(a, b)
	s.run(2 * time.Second)
	a.set("k", "v")
	for i := range s.queue { // lose the timers of both
		s.queue[i].do = func() {}
	}
	s.run(3 * time.Second)
	b.give(a, kindRoot, appendRoot(nil, [32]byte{})) // life
	a.give(b, kindRoot, appendRoot(nil, [32]byte{}))
	s.run(3 * time.Second)
	if b.get("k") != "v" {
		t.Error("the write is stuck")
	}
}

func BenchmarkSet(b *testing.B) {
	n := New(Config{Key: testKey(0)})
	a := agent.NewBehavior(quietEnv(testKey(0).ID()))
	if err := n.OnStart(a); err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 200)
	for i := 0; b.Loop(); i++ {
		if err := n.Set(b.Context(), fmt.Sprint("key", i%1000), value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := newSim(b, 1)
	n := s.add(Config{})
	n.set("k", strings.Repeat("v", 200))
	b.ReportAllocs()
	for b.Loop() {
		n.Get("k")
	}
}

// BenchmarkReceive takes entries of 200 bytes from a peer, signatures included.
func BenchmarkReceive(b *testing.B) {
	s := newSim(b, 1)
	n, p := s.add(Config{}), s.add(Config{})
	n.verify = identity.NodeID.Verify
	s.connect(p, n)
	stamp := stampOf(s.now)
	var pages [][]byte
	for i := range 256 {
		pages = append(pages, page(seal(p.key, identity.PrivateKey.Sign, "", fmt.Sprint(i), make([]byte, 200), false, stamp).raw))
	}
	i := 0
	for b.Loop() {
		if i%len(pages) == 0 {
			n.store = newStore(n.cfg)
			for _, pe := range n.peers {
				pe.verify.left = verifyBurst
			}
		}
		n.give(p, kindEntries, pages[i%len(pages)])
		i++
	}
	if n.stats().Forged+n.stats().Throttled > 0 {
		b.Fatalf("%+v", n.stats())
	}
}

// BenchmarkRoot writes one of 4096 keys and hashes anew.
func BenchmarkRoot(b *testing.B) {
	s := newSim(b, 1)
	n := s.add(Config{})
	for k := range 4096 {
		n.set(fmt.Sprint(k), "v")
	}
	e := cheap(1, "7", "w", false, stampOf(s.now.Add(time.Second)))
	for b.Loop() {
		n.store.buckets[e.hash[0]].stale, n.store.stale = true, true
		n.Root()
	}
}
