package state

import (
	"context"
	"slices"
	"strings"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// A Change says what the value of a key has become, or that a watcher has to
// read anew.
type Change struct {
	// Resync says that the watcher has missed changes, or is new: read what
	// is of interest with Get or Range. Later changes follow. The other
	// fields are zero.
	Resync bool

	Key     string
	Value   []byte // a copy; nil if Deleted
	Deleted bool
	Stamp   Stamp           // of the write; zero if a deletion is so old that it is forgotten
	Writer  identity.NodeID // who wrote it; zero together with Stamp
}

// A queue holds keys that have changed, each once, in the order of their first
// change.
type queue struct {
	keys    []string
	waiting map[string]struct{}
}

func (q *queue) push(key string) {
	if _, waits := q.waiting[key]; waits {
		return
	}
	if q.waiting == nil {
		q.waiting = make(map[string]struct{})
	}
	q.waiting[key] = struct{}{}
	q.keys = append(q.keys, key)
}

func (q *queue) pop() (key string, ok bool) {
	if len(q.keys) == 0 {
		return "", false
	}
	key = q.keys[0]
	delete(q.waiting, key)
	if q.keys = q.keys[1:]; len(q.keys) == 0 {
		q.keys = nil // let go of what was popped
	}
	return key, true
}

// A Watcher tells of changes to the keys with a prefix. For each key it tells
// of the last change, and of earlier ones as far as the reader keeps up; what
// it tells of one key is ever later. A reader that does not keep up delays
// nobody: beyond Config.WatchQueue keys, all that waits is replaced by one
// Resync.
type Watcher struct {
	s      *State
	prefix string
	ready  chan struct{} // holds one token where there may be something to read

	// The rest is guarded by s.mu.
	changed queue
	resync  bool
	closed  bool
}

// Watch begins to watch the keys that begin with prefix. The first change is a
// Resync, so that nothing is missed between reading and watching:
//
//	w := s.Watch("config/")
//	defer w.Close()
//	for {
//		c, err := w.Next(ctx)
//		switch {
//		case err != nil:
//			return err
//		case c.Resync:
//			load(maps.Collect(s.Range("config/")))
//		default:
//			update(c)
//		}
//	}
func (s *State) Watch(prefix string) *Watcher {
	w := &Watcher{s: s, prefix: prefix, ready: make(chan struct{}, 1), resync: true}
	s.mu.Lock()
	s.watchers = append(s.watchers, w)
	s.mu.Unlock()
	return w
}

// Next returns the next change, waiting for one until ctx ends, the watcher is
// closed (ErrClosed) or the behaviour has stopped (ErrNotRunning). It must not
// be called from a callback of a behaviour; use Poll or Config.OnChange there.
// Only one goroutine may read from a watcher.
func (w *Watcher) Next(ctx context.Context) (Change, error) {
	for {
		c, ok, err := w.poll()
		if ok || err != nil {
			return c, err
		}
		surroundings := context.Background()
		if a := w.s.agent.Load(); a != nil {
			surroundings = a.Context()
		}
		if env.Of(surroundings).Wait(w.ready, ctx.Done(), nil) == 1 {
			return Change{}, context.Cause(ctx)
		}
	}
}

// Poll is Next that does not wait: ok is false if nothing has changed.
func (w *Watcher) Poll() (c Change, ok bool) {
	c, ok, _ = w.poll()
	return c, ok
}

func (w *Watcher) poll() (Change, bool, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.closed {
		return Change{}, false, ErrClosed
	}
	if w.resync {
		w.resync = false
		return Change{Resync: true}, true, nil
	}
	if key, ok := w.changed.pop(); ok {
		return w.s.change(key), true, nil
	}
	if w.s.stopped {
		return Change{}, false, ErrNotRunning
	}
	return Change{}, false, nil
}

// Close ends the watcher, and a Next that waits. It may be called from any
// goroutine and more than once.
func (w *Watcher) Close() {
	s := w.s
	s.mu.Lock()
	w.closed, w.changed = true, queue{}
	s.watchers = slices.DeleteFunc(s.watchers, func(other *Watcher) bool { return other == w })
	s.mu.Unlock()
	w.wake()
}

func (w *Watcher) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// change describes what a key has become. The caller holds the lock.
func (s *State) change(key string) Change {
	e := s.store.entries[key]
	switch {
	case e == nil:
		return Change{Key: key, Deleted: true}
	case e.dead:
		return Change{Key: key, Deleted: true, Stamp: e.stamp, Writer: e.writer}
	}
	return Change{Key: key, Value: copyOf(e.value), Stamp: e.stamp, Writer: e.writer}
}

// notify remembers that the value of a key has changed. The caller holds the
// lock.
func (s *State) notify(key string) {
	if s.cfg.OnChange != nil {
		s.changed.push(key) // bounded by the keys of the store
	}
	for _, w := range s.watchers {
		if w.resync || !strings.HasPrefix(key, w.prefix) {
			continue // after a Resync the reader sees this change too
		}
		w.changed.push(key)
		if len(w.changed.keys) > s.cfg.WatchQueue {
			w.changed, w.resync = queue{}, true
		}
		w.wake()
	}
}

// deliver calls OnChange with what has changed so far; what OnChange changes
// itself comes at a later turn.
func (s *State) deliver(a *agent.Behavior) {
	if s.cfg.OnChange == nil {
		return
	}
	s.mu.RLock()
	n := len(s.changed.keys)
	s.mu.RUnlock()
	for range n {
		s.mu.Lock()
		key, ok := s.changed.pop()
		c := Change{}
		if ok {
			c = s.change(key)
		}
		s.mu.Unlock()
		if !ok {
			return
		}
		s.cfg.OnChange(a, c)
	}
}
