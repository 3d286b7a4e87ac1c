package raw

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/plexus-net/plexus/internal/origin"
)

// A LimitError says that a connection was refused because of a bound of
// [Config].
type LimitError struct {
	Limit  string       // the field of Config that sets it
	Max    int          // its value
	Prefix netip.Prefix // of MaxPerPrefix
}

func (e *LimitError) Error() string {
	if e.Prefix.IsValid() {
		return fmt.Sprintf("raw: %d connections with %s are the most that is allowed; raise Config.%s", e.Max, e.Prefix, e.Limit)
	}
	return fmt.Sprintf("raw: the limit of %d connections is reached; raise Config.%s", e.Max, e.Limit)
}

// limits counts connections against the bounds of the configuration.
type limits struct {
	maxConns, maxPerPrefix, maxPending int // negative: no bound
	ipv4, ipv6                         int // bits

	mu       sync.Mutex // guards what follows
	conns    int        // those being made included
	dialing  int        // outgoing connections that are being made
	coming   int        // incoming ones
	queue    []*slot    // those, the oldest first; none without a bound
	prefixes map[netip.Prefix]*tally
	freed    chan struct{} // one token: the accept loop may look again
}

// A tally is what the connections with one prefix take, guarded by limits.mu.
type tally struct {
	prefix netip.Prefix
	conns  int // those being made included
	coming int // incoming ones that are being made
}

func newLimits(c Config) *limits {
	return &limits{
		maxConns: c.MaxConns, maxPerPrefix: c.MaxPerPrefix, maxPending: c.MaxPending, ipv4: c.IPv4Prefix, ipv6: c.IPv6Prefix,
		prefixes: make(map[netip.Prefix]*tally), freed: make(chan struct{}, 1),
	}
}

// A slot is what one connection takes of the limits. Its fields are guarded by
// limits.mu, but for l and a.
type slot struct {
	l       *limits
	a       *attempt // of an incoming connection: what gives way
	tally   *tally   // nil: not counted, or not known yet
	taken   bool
	dialing bool
	coming  bool
}

// take takes a place for a connection with an address, nil if it is not known
// yet.
func (l *limits) take(remote net.Addr) (*slot, error) {
	s := &slot{l: l, taken: true}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.maxConns >= 0 && l.conns >= l.maxConns {
		return nil, &LimitError{Limit: "MaxConns", Max: l.maxConns}
	}
	if err := s.charge(remote); err != nil {
		return nil, err
	}
	l.conns++
	return s, nil
}

// takePrefix counts a slot against the prefix of its address as it is known by
// now, instead of an earlier one.
func (s *slot) takePrefix(remote net.Addr) error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if !s.taken {
		return nil
	}
	return s.charge(remote)
}

// charge does so. Where it fails nothing changes. Callers hold mu.
func (s *slot) charge(remote net.Addr) error {
	l := s.l
	prefix := l.prefixOf(remote)
	if !prefix.IsValid() || l.maxPerPrefix < 0 || s.tally != nil && s.tally.prefix == prefix {
		return nil
	}
	t := l.prefixes[prefix]
	switch {
	case t != nil && t.conns >= l.maxPerPrefix:
		return &LimitError{Limit: "MaxPerPrefix", Max: l.maxPerPrefix, Prefix: prefix}
	case t == nil:
		t = &tally{prefix: prefix}
		l.prefixes[prefix] = t
	}
	s.leave()
	s.tally = t
	t.conns++
	if s.coming {
		t.coming++
	}
	return nil
}

// leave takes a slot out of the count of its prefix. Callers hold mu.
func (s *slot) leave() {
	t := s.tally
	if t == nil {
		return
	}
	s.tally = nil
	if s.coming {
		t.coming--
	}
	if t.conns--; t.conns == 0 {
		delete(s.l.prefixes, t.prefix)
	}
}

// takeDialing counts a slot as being dialled, at once or not at all.
func (s *slot) takeDialing() error {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.maxPending >= 0 && l.dialing >= l.maxPending {
		return &LimitError{Limit: "MaxPending", Max: l.maxPending}
	}
	l.dialing++
	s.dialing = true
	return nil
}

// takeComing counts a slot as coming in. Where there is no place it makes one,
// fails, or waits, until ctx ends. One goroutine may wait.
func (s *slot) takeComing(ctx context.Context) error {
	full := &LimitError{Limit: "MaxPending", Max: s.l.maxPending}
	for {
		taken, crowd := s.tryComing()
		switch {
		case taken:
			return nil
		case crowd == s:
			return full
		case crowd != nil:
			crowd.a.fail(full) // or somebody else does just now: either frees its place
		}
		select {
		case <-s.l.freed:
		case <-ctx.Done():
			return full
		}
	}
}

// tryComing counts a slot as coming in if there is a place. Else crowd is the
// connection that has to give way: the oldest of the prefix that has most, so
// that strangers need as many prefixes as there are places to keep others out;
// s itself if its prefix has its share; nil if s has to wait.
func (s *slot) tryComing() (taken bool, crowd *slot) {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.maxPending < 0 || l.coming < l.maxPending {
		l.coming++
		s.coming = true
		if s.tally != nil {
			s.tally.coming++
		}
		if l.maxPending >= 0 {
			l.queue = append(l.queue, s)
		}
		return true, nil
	}
	if s.tally == nil {
		return false, nil
	}
	for _, o := range l.queue {
		if o.tally != nil && (crowd == nil || o.tally.coming > crowd.tally.coming) {
			crowd = o
		}
	}
	switch {
	case crowd != nil && crowd.tally.coming > s.tally.coming+1:
		return false, crowd
	case s.tally.coming > 0:
		return false, s
	}
	return false, nil
}

// settle ends the pending of a slot: its connection is there.
func (s *slot) settle() {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.endPending()
}

func (s *slot) endPending() {
	l := s.l
	if s.dialing {
		s.dialing = false
		l.dialing--
	}
	if !s.coming {
		return
	}
	s.coming = false
	l.coming--
	if s.tally != nil {
		s.tally.coming--
	}
	if i := slices.Index(l.queue, s); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// release gives a slot back. Calls after the first do nothing.
func (s *slot) release() {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	s.endPending()
	if s.taken {
		s.taken = false
		l.conns--
		s.leave()
	}
}

func (l *limits) numPending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialing + l.coming
}

// prefixOf returns what an address counts as, the zero Prefix where it has no IP.
func (l *limits) prefixOf(a net.Addr) netip.Prefix {
	ip := origin.IP(a)
	if !ip.IsValid() {
		return netip.Prefix{}
	}
	bits := l.ipv6
	if ip.Is4() {
		bits = l.ipv4
	}
	prefix, _ := ip.Prefix(bits) // bits are checked by Config
	return prefix
}
