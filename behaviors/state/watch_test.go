package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
)

// TestWatchLastValue: whatever the pace of a reader, what it has been told last
// of each key is what the key is, and what it is told of a key is ever later.
func TestWatchLastValue(t *testing.T) {
	s := newSim(t, 30)
	a, b := s.add(Config{WatchQueue: 10}), s.add(Config{WatchQueue: 10})
	s.connect(a, b)
	for _, pace := range []int{0, 1, 3, 20} {
		w := b.Watch("k")
		known, stamps, resyncs := make(map[string]string), make(map[string]Stamp), 0
		read := func(n int) {
			for range n {
				c, ok := w.Poll()
				switch {
				case !ok:
					return
				case c.Resync:
					resyncs++
					clear(known)
					for k, v := range b.Range("k") {
						known[k] = string(v)
					}
				case c.Stamp <= stamps[c.Key] && c.Stamp != 0:
					t.Fatalf("change of %s at %v after %v", c.Key, c.Stamp, stamps[c.Key])
				case c.Deleted:
					delete(known, c.Key)
				default:
					known[c.Key] = string(c.Value)
				}
				stamps[c.Key] = c.Stamp
			}
		}
		for i := range 300 {
			key := fmt.Sprint("k", s.rand.IntN(15))
			n := s.nodes[s.rand.IntN(2)]
			if s.rand.IntN(4) == 0 {
				n.del(key)
			} else {
				n.set(key, fmt.Sprint(i))
			}
			n.set("unwatched", fmt.Sprint(i))
			s.run(15 * time.Millisecond)
			read(pace)
		}
		s.run(5 * time.Second)
		read(1000)
		want := make(map[string]string)
		for k, v := range b.Range("k") {
			want[k] = string(v)
		}
		if fmt.Sprint(known) != fmt.Sprint(want) {
			t.Errorf("pace %d: the reader knows %v, the replica %v", pace, known, want)
		}
		if slow := pace == 0; slow && resyncs != 1 || pace == 20 && resyncs != 1 {
			t.Errorf("pace %d: %d resyncs, want 1", pace, resyncs)
		}
		w.Close()
	}
	if len(b.watchers) != 0 {
		t.Error("closed watchers are kept")
	}
}

// TestWatchOverflow: beyond WatchQueue keys a reader gets one Resync instead.
func TestWatchOverflow(t *testing.T) {
	s := newSim(t, 31)
	n := s.add(Config{WatchQueue: 10})
	w := n.Watch("")
	if c, ok := w.Poll(); !ok || !c.Resync {
		t.Fatal("the first change is not a Resync")
	}
	for k := range 11 {
		n.set(fmt.Sprint(k), "v")
	}
	if len(w.changed.keys) > 10 {
		t.Errorf("%d keys wait, want at most 10", len(w.changed.keys))
	}
	if c, _ := w.Poll(); !c.Resync {
		t.Error("no Resync after more changes than the queue holds")
	}
	if _, ok := w.Poll(); ok {
		t.Error("changes from before the Resync follow it")
	}
	n.set("k", "v")
	if c, _ := w.Poll(); c.Key != "k" || string(c.Value) != "v" || c.Writer != n.key.ID() {
		t.Errorf("after a Resync: %+v", c)
	}
}

func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 32)
		n := s.add(Config{})
		w := n.Watch("")
		ctx, cancel := context.WithCancelCause(t.Context())
		next := func() (Change, error) { return w.Next(ctx) }
		if c, err := next(); err != nil || !c.Resync {
			t.Fatal(c, err)
		}
		go func() {
			time.Sleep(time.Second) // fake time: Next waits by then
			n.set("k", "v")
			time.Sleep(time.Second)
			cancel(errors.New("enough"))
		}()
		if c, err := next(); err != nil || c.Key != "k" {
			t.Error(c, err)
		}
		if _, err := next(); err == nil || err.Error() != "enough" {
			t.Error(err)
		}
		ctx = t.Context()
		go func() {
			time.Sleep(time.Second)
			n.set("k", "w")
			n.OnStop(n.agent)
		}()
		if c, err := next(); err != nil || string(c.Value) != "w" {
			t.Error(c, err)
		}
		if _, err := next(); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
		if err := n.OnStart(n.agent); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second)
			w.Close()
			w.Close()
		}()
		if _, err := next(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// TestOnChange: the callback gets the last value of each key, from both ends,
// and may write.
func TestOnChange(t *testing.T) {
	s := newSim(t, 33)
	got := make(map[string]string)
	calls := 0
	var b *simNode
	a := s.add(Config{})
	b = s.add(Config{OnChange: func(_ *agent.Behavior, c Change) {
		calls++
		got[c.Key] = string(c.Value)
		if c.Key == "ask" && !c.Deleted {
			if err := b.set("answer", string(c.Value)+"!"); err != nil {
				t.Error(err)
			}
		}
	}})
	s.connect(a, b)
	s.run(time.Second)
	for i := range 50 {
		a.set("ask", fmt.Sprint(i))
		b.set("own", fmt.Sprint(i))
	}
	s.run(time.Second)
	if got["ask"] != "49" || got["own"] != "49" || got["answer"] != "49!" {
		t.Errorf("got %v", got)
	}
	if calls > 20 {
		t.Errorf("%d calls: changes within a batch should be one", calls)
	}
	if a.get("answer") != "49!" {
		t.Error("what OnChange wrote did not travel")
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	s := newSim(t, 34)
	n := s.add(Config{})
	n.agent = nil // the simulator is not safe for concurrent use: a backend of its own
	a := agent.NewBehavior(quietEnv(n.key.ID()))
	n.State.agent.Store(a)
	w := n.Watch("")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 50 {
				key := fmt.Sprint(k % 7)
				if err := n.set(key, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				n.Get(key)
				n.Keys("")
				n.Root()
				n.stats()
				n.del(key)
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			w.Poll()
		}
		w.Close()
	})
	wg.Wait()
	n.checkBooks()
}
