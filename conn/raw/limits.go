package raw

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
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
	pending  int
	prefixes map[netip.Prefix]int
	freed    chan struct{} // one token: the accept loop may look again
}

func newLimits(c Config) *limits {
	return &limits{
		maxConns: c.MaxConns, maxPerPrefix: c.MaxPerPrefix, maxPending: c.MaxPending, ipv4: c.IPv4Prefix, ipv6: c.IPv6Prefix,
		prefixes: make(map[netip.Prefix]int), freed: make(chan struct{}, 1),
	}
}

// A slot is what one connection takes of the limits. Its fields are of whoever
// makes the connection, and guarded by limits.mu.
type slot struct {
	l       *limits
	prefix  netip.Prefix // zero: not counted, or not known yet
	taken   bool
	pending bool
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

// takePrefix counts a slot against the prefix of its address, which is known by
// now.
func (s *slot) takePrefix(remote net.Addr) error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if s.prefix.IsValid() || !s.taken {
		return nil
	}
	return s.charge(remote)
}

// charge does so. Callers hold mu.
func (s *slot) charge(remote net.Addr) error {
	l := s.l
	prefix := l.prefixOf(remote)
	if !prefix.IsValid() || l.maxPerPrefix < 0 {
		return nil
	}
	if l.prefixes[prefix] >= l.maxPerPrefix {
		return &LimitError{Limit: "MaxPerPrefix", Max: l.maxPerPrefix, Prefix: prefix}
	}
	l.prefixes[prefix]++
	s.prefix = prefix
	return nil
}

// takePending counts a slot as being made, at once or not at all.
func (s *slot) takePending() error {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.maxPending >= 0 && l.pending >= l.maxPending {
		return &LimitError{Limit: "MaxPending", Max: l.maxPending}
	}
	l.pending++
	s.pending = true
	return nil
}

// waitPending is takePending that waits, until ctx ends. One goroutine may wait.
func (s *slot) waitPending(ctx context.Context) error {
	for {
		if err := s.takePending(); err == nil {
			return nil
		}
		select {
		case <-s.l.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settle ends the pending of a slot: its connection is there.
func (s *slot) settle() {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.endPending()
}

func (s *slot) endPending() {
	if !s.pending {
		return
	}
	s.pending = false
	s.l.pending--
	select {
	case s.l.freed <- struct{}{}:
	default:
	}
}

// release gives a slot back. Calls after the first do nothing.
func (s *slot) release() {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	s.endPending()
	if !s.taken {
		return
	}
	s.taken = false
	l.conns--
	if s.prefix.IsValid() {
		if l.prefixes[s.prefix]--; l.prefixes[s.prefix] == 0 {
			delete(l.prefixes, s.prefix)
		}
	}
}

func (l *limits) numPending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending
}

// prefixOf returns what an address counts as, the zero Prefix where it has no IP.
func (l *limits) prefixOf(a net.Addr) netip.Prefix {
	ip := ipOf(a)
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

// ipOf returns the IP of an address, IPv4 where it is that in IPv6 clothes.
func ipOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case nil:
		return netip.Addr{}
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UnixAddr:
		return netip.Addr{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}
