package state

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

// goldenEntries are the entries of the golden vectors, with real signatures.
func goldenEntries() (set, tomb *entry) {
	seed := make([]byte, 32)
	for i := range seed {
		seed[i] = byte(i)
	}
	key, _ := identity.PrivateKeyFromSeed(seed)
	stamp := Stamp(0x019b_7c3d_5e88_0007)
	set = seal(key, identity.PrivateKey.Sign, "golden", "greeting", []byte("hello"), false, stamp)
	tomb = seal(key, identity.PrivateKey.Sign, "golden", "farewell", nil, true, stamp+1)
	return set, tomb
}

// golden returns a message of each form.
func golden() []struct {
	name    string
	kind    conn.Kind
	payload []byte
} {
	set, tomb := goldenEntries()
	cfg, _ := Config{}.withDefaults()
	s := newStore(cfg)
	s.put(set, epoch)
	s.put(tomb, epoch)
	var more, done entriesWriter
	more.add(set.raw)
	more.more(span{set.hash, whole.to})
	done.done()
	items := newItemsWriter(true)
	items.open(bucketSpan(1, 1).from)
	items.close(bucketSpan(1, 1).to)
	items.open(tomb.hash)
	items.add(itemOf(tomb))
	items.close(whole.to)
	want := []keyHash{set.hash, tomb.hash}
	slices.SortFunc(want, keyHash.compare)
	return []struct {
		name    string
		kind    conn.Kind
		payload []byte
	}{
		{"entry-set", 0, set.raw},
		{"entry-tombstone", 0, tomb.raw},
		{"entries-push", kindEntries, page(set.raw, tomb.raw)},
		{"entries-more", kindEntries, more.buf},
		{"entries-done", kindEntries, done.buf},
		{"root-empty", kindRoot, appendRoot(nil, newStore(cfg).rootSum())},
		{"root", kindRoot, appendRoot(nil, s.rootSum())},
		{"buckets", kindBuckets, appendBuckets(nil, s.sums())},
		{"items", kindItems, items.buf},
		{"want", kindWant, appendWant(nil, want)},
	}
}

// TestGolden: the wire format is what testdata/golden.txt says.
func TestGolden(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Golden vectors of plexus/state: name, kind of the message (0: an entry), payload.\n# Key: the seed 00 01 ... 1f. Domain: \"golden\".\n")
	for _, g := range golden() {
		fmt.Fprintf(&b, "%s %d %s\n", g.name, g.kind, hex.EncodeToString(g.payload))
	}
	const path = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the wire format has changed; if that is meant, change the version and run with -update. Got:\n%s", b.String())
	}
}

// TestWireSizes: no message exceeds what receivers take.
func TestWireSizes(t *testing.T) {
	big := cheap(0, strings.Repeat("k", MaxKey), strings.Repeat("v", MaxValue), false, 1)
	if len(big.raw) != maxEntry {
		t.Errorf("the largest entry has %d bytes, want %d", len(big.raw), maxEntry)
	}
	var w entriesWriter
	if !w.add(big.raw) || w.add(big.raw) {
		t.Error("a page takes one of the largest entries, whatever its size, and no other")
	}
	w.more(whole)
	if len(w.buf) > maxMessage {
		t.Errorf("%d bytes, receivers take %d", len(w.buf), maxMessage)
	}
	if _, err := parseEntries(w.buf); err != nil {
		t.Error(err)
	}
	w = entriesWriter{}
	small := cheap(0, "k", "v", false, 1)
	for w.add(small.raw) {
	}
	w.more(whole)
	if len(w.buf) > maxPage {
		t.Errorf("a page of %d bytes", len(w.buf))
	}
}

// FuzzEntry: an entry that can be read is written the same.
func FuzzEntry(f *testing.F) {
	for _, g := range golden()[:2] {
		f.Add(g.payload)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := parseEntry(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(appendBody(nil, &e), raw[:len(raw)-64]) {
			t.Error("an entry is read as another")
		}
		if checkKey(e.key) != nil || len(e.value) > MaxValue || !bytes.Equal(e.keep().raw, raw) {
			t.Error("an entry was read that nobody could write")
		}
		e.verify(identity.NodeID.Verify, "golden")
	})
}

// FuzzMessage: whatever a peer sends, a replica lives on with its books in
// order, and messages that can be read are written the same.
func FuzzMessage(f *testing.F) {
	for _, g := range golden()[2:] {
		f.Add(uint16(g.kind), g.payload)
	}
	set, tomb := goldenEntries()
	f.Fuzz(func(t *testing.T, kind uint16, payload []byte) {
		s := newSim(t, 1)
		s.loss = 1
		n, p := s.add(Config{Domain: "golden"}), s.add(Config{})
		n.verify = func(identity.NodeID, []byte, []byte) bool { return true }
		s.connect(p, n)
		for i := range 5 {
			n.set(fmt.Sprint(i), "v")
		}
		n.give(p, kindEntries, page(set.raw, tomb.raw))
		n.give(p, conn.Kind(kind), payload)
		n.checkBooks()
		rewrite(t, conn.Kind(kind), payload)
	})
}

func rewrite(t *testing.T, kind conn.Kind, payload []byte) {
	var again []byte
	var err error
	switch kind {
	case kindRoot:
		var root [32]byte
		root, err = parseRoot(payload)
		again = appendRoot(nil, root)
	case kindBuckets:
		var sums [buckets]bucketSum
		sums, err = parseBuckets(payload)
		again = appendBuckets(nil, &sums)
	case kindWant:
		var want []keyHash
		want, err = parseWant(payload)
		again = appendWant(nil, want)
	case kindItems:
		var full bool
		var spans []spanItems
		full, spans, err = parseItems(payload)
		w := newItemsWriter(full)
		for _, sp := range spans {
			w.open(sp.from)
			for _, it := range sp.items {
				w.add(it)
			}
			w.close(sp.to)
		}
		again = w.buf
	case kindEntries:
		var pg entriesPage
		pg, err = parseEntries(payload)
		var w entriesWriter
		for raw, ok := range pg.all() {
			if !ok {
				return
			}
			w.add(raw)
		}
		if pg.more {
			w.more(pg.rest)
		} else if pg.done {
			w.done()
		}
		if w.begin(); true {
			again = w.buf
		}
	default:
		return
	}
	if err == nil && len(payload) <= maxPage && !bytes.Equal(again, payload) {
		t.Errorf("a message of kind %d is read as another", kind)
	}
}
