package link

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Kind says what an [Event] is.
type Kind uint8

// The kinds.
const (
	Sent     Kind = iota + 1 // the stream has taken a message, or failed to: Event.Err
	Received                 // a message has come
	Blocked                  // a message found no room
	Failed                   // the link has ended: Event.Err
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Sent:
		return "sent"
	case Received:
		return "received"
	case Blocked:
		return "blocked"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// An Event is something that a link did.
type Event struct {
	Link Info
	Time time.Time
	Kind Kind
	// Message is that of Sent and Received, an Out or an In. Bytes are a copy;
	// what other messages refer to is what sender and receiver have: who keeps
	// events sees what they change later.
	Message any
	Err     error
}

// own returns v for an observer: bytes are the sender's or the receiver's again
// before it may look at them.
func own[T any](v T) T {
	if p, ok := any(&v).(*[]byte); ok {
		*p = bytes.Clone(*p)
	}
	return v
}

// An Observer sees what links do. Observe is called from the goroutines that
// send, receive and write, many at a time; it must not wait and not call the
// link.
type Observer interface{ Observe(Event) }

// Chain lets several observers see each event, in order.
type Chain []Observer

// Observe implements [Observer].
func (c Chain) Observe(e Event) {
	for _, o := range c {
		o.Observe(e)
	}
}

// A Counter counts events. The zero value is ready.
type Counter struct {
	Sent, Received, Blocked, Failed atomic.Uint64
	Unsent                          atomic.Uint64 // accepted messages that the stream did not take
}

// Observe implements [Observer].
func (c *Counter) Observe(e Event) {
	switch {
	case e.Kind == Sent && e.Err != nil:
		c.Unsent.Add(1)
	case e.Kind == Sent:
		c.Sent.Add(1)
	case e.Kind == Received:
		c.Received.Add(1)
	case e.Kind == Blocked:
		c.Blocked.Add(1)
	case e.Kind == Failed:
		c.Failed.Add(1)
	}
}

// A Log writes events to a logger: messages with Level, errors with
// slog.LevelWarn.
type Log struct {
	Logger *slog.Logger // default slog.Default()
	Level  slog.Level   // default slog.LevelInfo
}

// Observe implements [Observer].
func (l Log) Observe(e Event) {
	logger, level := l.Logger, l.Level
	if logger == nil {
		logger = slog.Default()
	}
	if e.Err != nil {
		level = slog.LevelWarn
	}
	if !logger.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("link", e.Link.Name), slog.Uint64("id", e.Link.ID), slog.String("remote", e.Link.Remote)}
	if e.Message != nil {
		attrs = append(attrs, slog.Any("message", e.Message))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("err", e.Err))
	}
	logger.LogAttrs(context.Background(), level, "link: "+e.Kind.String(), attrs...)
}

// A Store keeps events, for tests that ask what has happened. The zero value
// is ready.
type Store struct {
	// Max is how many events are kept; the oldest go first. Default 10000. Set
	// it before use.
	Max int

	mu     sync.Mutex // guards what follows
	events []Event    // the last of them, in order
	from   uint64     // how many came before events[0]
	more   chan struct{}
}

const defaultStored = 10000

// Observe implements [Observer].
func (s *Store) Observe(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.Max
	if most <= 0 {
		most = defaultStored
	}
	if len(s.events) >= 2*most { // now and then
		drop := len(s.events) - most
		s.events = append(s.events[:0], s.events[drop:]...)
		clear(s.events[len(s.events) : len(s.events)+drop])
		s.from += uint64(drop)
	}
	s.events = append(s.events, e)
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

// Events returns what is kept, the oldest first.
func (s *Store) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.kept()...)
}

func (s *Store) kept() []Event {
	most := s.Max
	if most <= 0 {
		most = defaultStored
	}
	return s.events[max(0, len(s.events)-most):]
}

// Find returns the first event of a link of that name, "" for any, that match
// accepts. It waits for one until ctx ends, and then fails with its cause.
func (s *Store) Find(ctx context.Context, name string, match func(Event) bool) (Event, error) {
	var next uint64
	for {
		s.mu.Lock()
		kept := append([]Event(nil), s.events[max(0, int(max(next, s.from)-s.from)):]...)
		if next == 0 {
			kept = append([]Event(nil), s.kept()...)
		}
		next = s.from + uint64(len(s.events))
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more := s.more
		s.mu.Unlock()
		for _, e := range kept {
			if (name == "" || e.Link.Name == name) && match(e) {
				return e, nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}
