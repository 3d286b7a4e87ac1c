//go:build unix || windows

package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/journal"
	"github.com/plexus-net/plexus/identity"
)

// A book is what the journal of a peer should have.
type book struct {
	state    string
	messages []string
	j        endpoint.Journal // that may save; nil: none
	former   endpoint.Journal // that may not
}

// A library drives a store and books with the same calls.
type library struct {
	t     *testing.T
	rng   *rand.Rand
	path  string
	s     *journal.Store
	ids   []identity.NodeID
	books map[identity.NodeID]*book
}

// load loads a journal, and compares.
func (l *library) load(id identity.NodeID) {
	l.t.Helper()
	b := l.books[id]
	has(l.t, l.s, id, b.state, b.messages...)
	if b.j != nil {
		b.former = b.j
	}
	b.j = loaded(l.t, l.s, id)
}

func (l *library) save(b *book) {
	drop := l.rng.IntN(len(b.messages) + 1)
	if l.rng.IntN(3) > 0 {
		drop = min(drop, 3)
	}
	var c endpoint.Change
	c.Drop = drop
	for range l.rng.IntN(4) {
		p := make([]byte, l.rng.IntN(20)*l.rng.IntN(20)*l.rng.IntN(40))
		for i := range p {
			p[i] = byte(l.rng.Uint32())
		}
		c.Append = append(c.Append, p)
	}
	c.State = []byte(strings.Repeat("s", l.rng.IntN(200)))
	if l.rng.IntN(8) == 0 {
		c = endpoint.Change{Drop: len(b.messages), State: []byte{}} // it is over
	}
	must(l.t, b.j.Save(c))
	b.state, b.messages = string(c.State), b.messages[c.Drop:]
	for i, p := range c.Append {
		b.messages = append(b.messages, string(p))
		clear(c.Append[i]) // it is the caller's again
	}
}

func (l *library) step() {
	id := l.ids[l.rng.IntN(len(l.ids))]
	b := l.books[id]
	switch k := l.rng.IntN(40); {
	case k == 0:
		must(l.t, l.s.Close())
		l.s = open(l.t, l.path, quick)
		for _, b := range l.books {
			b.j, b.former = nil, nil
		}
	case k == 1:
		must(l.t, l.s.Remove(id))
		*b = book{former: b.j}
	case k < 5 || b.j == nil:
		l.load(id)
	case k < 7 && b.former != nil:
		if err := b.former.Save(change("x", 0, "of a former life")); err == nil {
			l.t.Fatal("a former life has saved")
		}
	case k < 9:
		for _, drop := range []int{-1, len(b.messages) + 1} {
			if err := b.j.Save(change("x", drop, "x")); err == nil {
				l.t.Fatalf("%d messages were dropped of %d", drop, len(b.messages))
			}
		}
	default:
		l.save(b)
	}
}

// A store does what a simple model does, in any order of calls, and also if it is
// closed and opened again in between.
func TestStoreAgainstAModel(t *testing.T) {
	for seed := range uint64(4) {
		l := &library{t: t, rng: rand.New(rand.NewPCG(seed, 5)), path: file(t), books: map[identity.NodeID]*book{}}
		l.s = open(t, l.path, quick)
		for i := range 4 {
			id := key(byte(i + 1)).ID()
			l.ids, l.books[id] = append(l.ids, id), &book{}
		}
		slices.SortFunc(l.ids, identity.NodeID.Compare)
		for range 500 {
			l.step()
		}
		var want []identity.NodeID
		for _, id := range l.ids {
			if b := l.books[id]; b.state != "" || len(b.messages) > 0 {
				want = append(want, id)
			}
			l.load(id)
		}
		if got, err := l.s.Peers(); err != nil || !slices.Equal(got, want) {
			t.Errorf("seed %d: Peers = %v, %v; want %v", seed, got, err, want)
		}
	}
}

// The journal is its last loader's. What another saves afterwards is refused, and
// leaves what is there as it is.
func TestLoadTakesOver(t *testing.T) {
	s, peer := open(t, file(t), journal.Config{}), key(1).ID()
	old := loaded(t, s, peer)
	must(t, old.Save(change("a", 0, "1", "2")))
	if err := s.For(peer).Save(change("b", 2)); err == nil {
		t.Error("a journal that was not loaded has saved")
	}
	now := loaded(t, s, peer)
	if err := old.Save(change("b", 2)); err == nil || !strings.Contains(err.Error(), "another endpoint") {
		t.Errorf("Save of a former life = %v", err)
	}
	must(t, now.Save(change("c", 1, "3")))
	must(t, s.Remove(peer))
	if err := now.Save(change("d", 0)); err == nil {
		t.Error("Save worked after Remove")
	}
	has(t, s, peer, "")
	must(t, s.Remove(key(2).ID())) // is not there
}

// Sizes from nothing to the largest message, and many of them, come back as they
// were. What has left leaves room.
func TestSizes(t *testing.T) {
	path, peer := file(t), key(1).ID()
	s := open(t, path, quick)
	j := loaded(t, s, peer)
	huge := string(bytes.Repeat([]byte("large"), 8<<20/5+1)[:8<<20])
	must(t, j.Save(change("s", 0, "", huge, "", "x")))
	must(t, s.Close())
	s = open(t, path, quick)
	has(t, s, peer, "s", "", huge, "", "x")
	j = loaded(t, s, peer)
	must(t, j.Save(change("s", 4)))
	for range 20 {
		must(t, j.Save(change("s", 0, huge)))
		must(t, j.Save(change("s", 1)))
	}
	has(t, s, peer, "s")
	if info, err := os.Stat(path); err != nil || info.Size() > 64<<20 {
		t.Errorf("the file has %d MiB, %v", info.Size()>>20, err)
	}
}

// Changes of many endpoints that come at the same time are one transaction. One
// that cannot be made is refused alone.
func TestManySaveTogether(t *testing.T) {
	s := open(t, file(t), quick)
	const many = 64
	var journals []endpoint.Journal
	for i := range many {
		journals = append(journals, loaded(t, s, key(byte(i)).ID()))
	}
	loaded(t, s, key(7).ID()) // the former can save no more
	before := journal.Transactions(s)
	release := journal.Hold(s)
	errs := make([]error, many)
	var work sync.WaitGroup
	for i, j := range journals {
		drop := 0
		if i == 9 {
			drop = 1 // of none
		}
		work.Go(func() { errs[i] = j.Save(change("s", drop, fmt.Sprint(i))) })
	}
	for journal.Waiting(s) < many {
		runtime.Gosched()
	}
	release()
	work.Wait()
	if n := journal.Transactions(s) - before; n != 1 {
		t.Errorf("%d changes at once were %d transactions, want 1", many, n)
	}
	for i, err := range errs {
		if bad := i == 7 || i == 9; bad != (err != nil) {
			t.Errorf("journal %d: %v", i, err)
		} else if !bad {
			has(t, s, key(byte(i)).ID(), "s", fmt.Sprint(i))
		}
	}
	has(t, s, key(9).ID(), "")
}

// One process at a time has a file open; the next waits for it.
func TestInUse(t *testing.T) {
	path := file(t)
	s := open(t, path, quick)
	began := time.Now()
	if _, err := journal.Open(path, journal.Config{LockTime: 200 * time.Millisecond}); !errors.Is(err, journal.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open of a file that is open = %v", err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it was waited for %v, want 200 ms", took)
	}
	if _, err := journal.Open(path, journal.Config{LockTime: -1}); err == nil || !strings.Contains(err.Error(), "LockTime") {
		t.Errorf("Open = %v", err)
	}
	opened := make(chan error)
	go func() {
		next, err := journal.Open(path, journal.Config{LockTime: time.Minute})
		if err == nil {
			err = next.Close()
		}
		opened <- err
	}()
	must(t, s.Close())
	must(t, <-opened)
}

// Close waits for who is saving; those who come later have an error, and what was
// saved is there.
func TestCloseWhileInUse(t *testing.T) {
	path := file(t)
	s := open(t, path, quick)
	const many = 8
	saved := make([]int, many)
	var work sync.WaitGroup
	half := make(chan struct{}, many)
	for i := range many {
		j := loaded(t, s, key(byte(i)).ID())
		work.Go(func() {
			for j.Save(change("s", 0, fmt.Sprint(saved[i]))) == nil {
				if saved[i]++; saved[i] == 5 {
					half <- struct{}{}
				}
			}
		})
	}
	for range many {
		<-half
	}
	must(t, s.Close())
	work.Wait()
	must(t, s.Close())
	peer := key(1).ID()
	if _, _, err := s.For(peer).Load(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Load = %v", err)
	}
	if _, err := s.Peers(); err == nil {
		t.Error("Peers worked after Close")
	}
	if err := s.Remove(peer); err == nil {
		t.Error("Remove worked after Close")
	}
	s = open(t, path, quick)
	for i, n := range saved {
		var want []string
		for k := range n {
			want = append(want, fmt.Sprint(k))
		}
		has(t, s, key(byte(i)).ID(), "s", want...)
	}
}

func TestOpenNeedsADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "node.journal")
	if _, err := journal.Open(path, journal.Config{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open = %v", err)
	}
	if _, err := journal.Open(filepath.Dir(filepath.Dir(path)), journal.Config{}); err == nil {
		t.Error("Open took a directory")
	}
}

// The file is its owner's only.
func TestMode(t *testing.T) {
	path := file(t)
	open(t, path, quick)
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}
