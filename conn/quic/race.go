package quic

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/udp"
)

// Limits of dials to host names.
const (
	stagger     = 250 * time.Millisecond // RFC 8305: the connection attempt delay
	maxTries    = 6                      // addresses of one host name that a dial tries
	maxRemember = 256                    // host names whose last winner is known
)

// resolve returns the socket addresses that host:port stands for, in the order
// to try them.
func resolve(ctx context.Context, hostPort string) ([]netip.AddrPort, error) {
	ips, port, err := udp.Lookup(ctx, hostPort)
	if err != nil {
		return nil, err
	}
	return interleave(ips, port), nil
}

// interleave orders addresses by turns of their families, IPv6 first, and leaves
// out doubles and what is too many (RFC 8305, 4).
func interleave(ips []netip.Addr, port uint16) []netip.AddrPort {
	var families [2][]netip.AddrPort // IPv6, IPv4
	for _, ip := range ips {
		ip = ip.Unmap()
		family := &families[0]
		if ip.Is4() {
			family = &families[1]
		}
		if at := netip.AddrPortFrom(ip, port); !slices.Contains(*family, at) {
			*family = append(*family, at)
		}
	}
	var all []netip.AddrPort
	for i := range max(len(families[0]), len(families[1])) {
		for _, family := range families {
			if i < len(family) && len(all) < maxTries {
				all = append(all, family[i])
			}
		}
	}
	return all
}

// A memory holds the address of a host name that won the last race.
type memory map[string]netip.AddrPort

// remembered returns targets with the winner of the last race to host first.
func (t *Transport) remembered(host string, targets []netip.AddrPort) []netip.AddrPort {
	t.mu.Lock()
	last, ok := t.won[host]
	t.mu.Unlock()
	i := slices.Index(targets, last)
	if !ok || i <= 0 {
		return targets
	}
	return append([]netip.AddrPort{last}, slices.Delete(slices.Clone(targets), i, i+1)...)
}

// remember notes the winner of a race. Where it is full, it forgets any other.
func (t *Transport) remember(host string, winner netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.won == nil {
		t.won = make(memory)
	}
	if _, known := t.won[host]; !known && len(t.won) >= maxRemember {
		for other := range t.won {
			delete(t.won, other)
			break
		}
	}
	t.won[host] = winner
}

// A result is how one try of a race ended.
type result struct {
	target netip.AddrPort
	conn   *connection
	err    error
}

// race tries targets beside each other: the next one starts when stagger has
// passed or the one before has failed. It returns the first success, when all
// other tries have ended. If none succeeds, an error that says most: that
// another node answered, else the last of the tries.
func race(ctx context.Context, targets []netip.AddrPort, try func(context.Context, netip.AddrPort) (*connection, error)) (*connection, netip.AddrPort, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan result)
	started, running := 0, 0
	start := func() {
		target := targets[started]
		started++
		running++
		go func() {
			c, err := try(ctx, target)
			results <- result{target, c, err}
		}()
	}
	var won result
	var failure error
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	start()
	for running > 0 {
		next := false
		select {
		case <-timer.C:
			next = true
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				failure = worse(failure, r.err)
				next = true
			case won.conn != nil: // second by a hair
				r.conn.Close(errSlower)
			default:
				won = r
				cancel(errSlower)
			}
		}
		if next && won.conn == nil && started < len(targets) && ctx.Err() == nil {
			start()
			timer.Reset(stagger)
		}
	}
	if won.conn == nil {
		return nil, netip.AddrPort{}, failure
	}
	return won.conn, won.target, nil
}

// errSlower is why a try ends, or a connection that nobody has seen.
var errSlower = &conn.CloseError{Code: conn.CodeReplaced, Reason: "another address answered first"}

// worse returns the error to report of two.
func worse(a, b error) error {
	var wrong *conn.WrongNodeError
	if errors.As(a, &wrong) {
		return a
	}
	return b
}
