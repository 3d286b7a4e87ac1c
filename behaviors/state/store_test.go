package state

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// cheap makes an entry with a cheap signature.
func cheap(writer int, key, value string, dead bool, stamp Stamp) *entry {
	var v []byte
	if !dead {
		v = []byte(value)
	}
	return seal(testKey(writer), cheapSign, "", key, v, dead, stamp)
}

// offer puts an entry into a store, if it may.
func offer(s *store, e *entry, now time.Time) error {
	err := s.check(e, now)
	if err == nil {
		s.put(e, now)
	}
	return err
}

func testStore(t *testing.T, cfg Config) *store {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return newStore(cfg)
}

// TestOrderFree: a store holds the same whatever the order in which entries
// arrive, and however often; equal stamps and equivocation included.
func TestOrderFree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := epoch
	for round := range 50 {
		var all []*entry
		for range 60 {
			key := fmt.Sprint("k", r.IntN(8))
			stamp := stampOf(now) + Stamp(r.IntN(5)) // ties
			all = append(all, cheap(r.IntN(3), key, fmt.Sprint(r.IntN(4)), r.IntN(3) == 0, stamp))
		}
		var want [32]byte
		for try := range 6 {
			s := testStore(t, Config{})
			order := slices.Concat(all, all)
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			for _, e := range order {
				if err := offer(s, e, now); err != nil && !errors.Is(err, errOutdated) {
					t.Fatal(err)
				}
			}
			if try == 0 {
				want = s.rootSum()
			} else if s.rootSum() != want {
				t.Fatalf("round %d: the order of entries made a difference", round)
			}
			if offer(s, all[0], now) != errOutdated {
				t.Fatal("an entry was taken twice")
			}
		}
	}
}

// TestAfterIsTotal: of two different entries of a key exactly one wins, and
// winning is transitive.
func TestAfterIsTotal(t *testing.T) {
	var all []*entry
	for _, stamp := range []Stamp{1, 2, maxStamp} {
		for writer := range 3 {
			all = append(all, cheap(writer, "k", "a", false, stamp), cheap(writer, "k", "b", false, stamp), cheap(writer, "k", "", true, stamp))
		}
	}
	for _, a := range all {
		for _, b := range all {
			if a == b != (!a.after(b) && !b.after(a)) || a.after(b) && b.after(a) {
				t.Fatal("not exactly one of two entries wins")
			}
			for _, c := range all {
				if a.after(b) && b.after(c) && !a.after(c) {
					t.Fatal("winning is not transitive")
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	now := epoch
	at := func(n int) Stamp { return stampOf(now) + Stamp(n) }
	limit := func(err error) string {
		var le *LimitError
		if !errors.As(err, &le) {
			t.Helper()
			t.Fatalf("got %v, want a *LimitError", err)
		}
		return le.Limit
	}
	s := testStore(t, Config{MaxKeys: 2, MaxTombstones: 1, MaxBytes: 1000})
	for i, key := range []string{"a", "b"} {
		if err := offer(s, cheap(0, key, "1", false, at(i)), now); err != nil {
			t.Fatal(err)
		}
	}
	if got := limit(offer(s, cheap(0, "c", "1", false, at(3)), now)); got != "MaxKeys" {
		t.Errorf("a third key is refused by %s, want MaxKeys", got)
	}
	if err := offer(s, cheap(0, "a", "2", false, at(4)), now); err != nil {
		t.Errorf("a new value of a key that is there: %v", err)
	}
	if err := offer(s, cheap(0, "a", "", true, at(5)), now); err != nil {
		t.Errorf("a deletion while there are as many keys as may be: %v", err)
	}
	if got := limit(offer(s, cheap(0, "b", "", true, at(6)), now)); got != "MaxTombstones" {
		t.Errorf("a second tombstone is refused by %s, want MaxTombstones", got)
	}
	if err := offer(s, cheap(0, "a", "3", false, at(7)), now); err != nil {
		t.Errorf("a value in the place of a tombstone: %v", err)
	}
	if got := limit(offer(s, cheap(0, "a", string(bytes.Repeat([]byte("x"), 900)), false, at(8)), now)); got != "MaxBytes" {
		t.Errorf("a value of 900 bytes is refused by %s, want MaxBytes", got)
	}
	if s.live != 2 || s.dead != 0 || string(s.entries["a"].value) != "3" {
		t.Errorf("a refused entry has changed something")
	}
}

// TestSpans: what in, find and items say of a span is what is in it.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := testStore(t, Config{})
	var hashes []keyHash
	for k := range 2000 {
		e := cheap(0, fmt.Sprint(k), "v", false, Stamp(k))
		offer(s, e, epoch)
		hashes = append(hashes, e.hash)
	}
	slices.SortFunc(hashes, keyHash.compare)
	for range 200 {
		sp := span{hashes[r.IntN(2000)], hashes[r.IntN(2000)]}
		if sp.from.compare(sp.to) > 0 {
			sp.from, sp.to = sp.to, sp.from
		}
		i, _ := slices.BinarySearchFunc(hashes, sp.from, keyHash.compare)
		for e := range s.in(sp) {
			if e.hash != hashes[i] || s.find(e.hash) != e {
				t.Fatal("a span holds another entry than it should")
			}
			i++
		}
		if hashes[i-1] != sp.to {
			t.Fatal("a span ends early")
		}
	}
}

// TestItemPages: the pages of items cover their spans without gaps, so that
// nothing that only the other replica has is overlooked.
func TestItemPages(t *testing.T) {
	s := testStore(t, Config{MaxKeys: 10000})
	for k := range 5000 {
		offer(s, cheap(0, fmt.Sprint(k), "v", false, Stamp(k)), epoch)
	}
	messages := s.itemPages([]span{bucketSpan(100, 255), bucketSpan(0, 10), bucketSpan(12, 50)}, 10)
	seen := 0
	var last *span
	for _, m := range messages {
		if len(m) > maxPage {
			t.Errorf("a message of %d bytes", len(m))
		}
		_, spans, err := parseItems(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, sp := range spans {
			seen += len(sp.items)
			if last != nil && last.to != sp.from.before() && sp.from != bucketSpan(0, 0).from && sp.from != bucketSpan(12, 12).from {
				t.Errorf("a gap before %x", sp.from)
			}
			last = &sp.span
		}
	}
	want := 0
	for _, b := range []span{bucketSpan(100, 255), bucketSpan(0, 10), bucketSpan(12, 50)} {
		for range s.in(b) {
			want++
		}
	}
	if seen != want {
		t.Errorf("%d items in %d messages, want %d", seen, len(messages), want)
	}
	if got := len(s.itemPages([]span{whole}, 2)); got != 2 {
		t.Errorf("%d messages, want at most 2", got)
	}
}

func TestClock(t *testing.T) {
	c := clock{maxSkew: 5 * time.Second}
	now := epoch
	last := c.next(now)
	for range 1 << 17 { // more than the counter holds
		s := c.next(now)
		if s <= last {
			t.Fatalf("%v after %v", s, last)
		}
		last = s
	}
	c.observe(stampOf(now.Add(5*time.Second)), now)
	if s := c.next(now); s <= stampOf(now.Add(5*time.Second)) {
		t.Errorf("a stamp 5 s ahead did not draw the clock: %v", s)
	}
	c.observe(stampOf(now.Add(6*time.Second)), now)
	if s := c.next(now); s >= stampOf(now.Add(6*time.Second)) {
		t.Errorf("a stamp 6 s ahead drew the clock: %v", s)
	}
	c.observe(maxStamp, now)
	if s := c.next(now.Add(-time.Hour)); s.Time().After(now.Add(-time.Hour)) {
		t.Errorf("a clock set back by an hour still stamps %v", s)
	}
	if s := stampOf(time.Unix(-5, 0)); s != 0 {
		t.Errorf("a time before 1970 is stamped %v", s)
	}
	if got := (stampOf(epoch) + 7).String(); got != "2026-01-02T03:04:05.000Z+7" {
		t.Error(got)
	}
}
