package raw_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

// Fifty dialers at once, a limit of three.
func TestRacingDialersNeverExceedTheLimit(t *testing.T) {
	const dialers, limit = 50, 3
	for _, tt := range []struct {
		name    string
		config  raw.Config
		refused func(raw.NodeStats) uint64
	}{
		{"MaxConns", raw.Config{MaxConns: limit}, func(s raw.NodeStats) uint64 { return s.RefusedConns }},
		{"MaxPerPrefix", raw.Config{MaxPerPrefix: limit}, func(s raw.NodeStats) uint64 { return s.RefusedPrefix }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			there, most := 0, 0
			count := func(by int) {
				mu.Lock()
				there += by
				most = max(most, there)
				mu.Unlock()
			}
			a, addr := listen(t, &hooks{
				connect:    func(context.Context, *raw.Conn) error { count(1); return nil },
				disconnect: func(context.Context, *raw.Conn, *raw.EndError) { count(-1) },
			}, tt.config)
			var all sync.WaitGroup
			barrier := make(chan struct{})
			dialed := make(chan net.Conn, dialers)
			for range dialers {
				all.Go(func() {
					<-barrier
					if c, err := net.Dial("tcp", addr); err == nil {
						dialed <- c
					}
				})
			}
			close(barrier)
			all.Wait()
			close(dialed)
			until(t, "all are decided", func() bool { s := a.Stats(); return tt.refused(s)+s.Opened == dialers })
			if got := a.NumConnected(); got != limit {
				t.Errorf("%d connections, want %d", got, limit)
			}
			for c := range dialed {
				c.Close()
			}
			until(t, "all are gone", func() bool { return a.NumConnected() == 0 })
			b := start(t, &hooks{}, raw.Config{})
			connect(t, b, addr) // places are free again
			only(t, a)
			mu.Lock()
			defer mu.Unlock()
			if most > limit {
				t.Errorf("%d connections at one time, want at most %d", most, limit)
			}
		})
	}
}

// The side that dials counts in the same way.
func TestRacingConnectsNeverExceedTheLimit(t *testing.T) {
	const dialers, limit = 50, 3
	_, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, &hooks{}, raw.Config{MaxConns: limit})
	errs := make(chan error, dialers)
	for range dialers {
		go func() {
			_, err := b.Connect(context.Background(), addr)
			errs <- err
		}()
	}
	failed := 0
	for range dialers {
		if err := wait(t, errs, "a result"); err != nil {
			failed++
			var l *raw.LimitError
			if !errors.As(err, &l) || l.Limit != "MaxConns" || l.Max != limit {
				t.Errorf("refused with %v", err)
			}
		}
	}
	if failed != dialers-limit || b.NumConnected() != limit || b.Stats().RefusedConns != dialers-limit {
		t.Errorf("%d failed, %d connected, %+v", failed, b.NumConnected(), b.Stats())
	}
}

// A flood from one network leaves room for others; what an attacker can choose
// freely counts as one.
func TestAFloodFromOnePrefix(t *testing.T) {
	const limit = 4
	for _, tt := range []struct {
		name         string
		from         func(i int) string
		elsewhere    string
		ipv4, ipv6   int
		want, wanted int // of 20 connections; and then of one from elsewhere
	}{
		{"one IPv4 address", func(i int) string { return fmt.Sprintf("192.0.2.1:%d", 1000+i) }, "192.0.2.2:1", 0, 0, limit, limit + 1},
		{"IPv4 in IPv6", func(i int) string {
			return fmt.Sprintf("%s:%d", []string{"192.0.2.1", "[::ffff:192.0.2.1]"}[i%2], 1000+i)
		}, "[::ffff:192.0.2.2]:1", 0, 0, limit, limit + 1},
		{"one IPv6 /64", func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i+1) }, "[2001:db8:0:1::1]:1", 0, 0, limit, limit + 1},
		{"one zone", func(i int) string { return fmt.Sprintf("[fe80::1%%eth%d]:1", i) }, "[2001:db8::1]:1", 0, 0, limit, limit + 1},
		{"IPv4 /24", func(i int) string { return fmt.Sprintf("192.0.2.%d:1", i) }, "192.0.3.1:1", 24, 0, limit, limit + 1},
		{"IPv6 /128", func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i+1) }, "[2001:db8::1]:1", 0, 128, 20, 21},
		{"IPv6 /32", func(i int) string { return fmt.Sprintf("[2001:db8:%x::1]:1", i+1) }, "[2001:db9::1]:1", 0, 32, limit, limit + 1},
		{"different IPv4", func(i int) string { return fmt.Sprintf("192.0.2.%d:1", i) }, "192.0.3.1:1", 0, 0, 20, 21},
		{"no IP", func(int) string { return "somewhere" }, "elsewhere", 0, 0, 20, 21},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newFakeListener()
			a, _ := listen(t, &hooks{}, raw.Config{NewListener: l.open, MaxPerPrefix: limit, IPv4Prefix: tt.ipv4, IPv6Prefix: tt.ipv6})
			var ends []net.Conn
			dial := func(from string) {
				c, err := l.dialFrom(address(from, len(ends)/2%2 == 0))
				if err != nil {
					t.Fatal(err)
				}
				ends = append(ends, c)
			}
			for i := range 20 {
				dial(tt.from(i))
			}
			until(t, "all are decided", func() bool { return a.Stats().Opened+a.Stats().RefusedPrefix == 20 })
			if got := a.NumConnected(); got != tt.want {
				t.Errorf("%d connections, want %d", got, tt.want)
			}
			dial(tt.elsewhere)
			until(t, "the last is decided", func() bool { return a.Stats().Opened+a.Stats().RefusedPrefix == 21 })
			if got := a.NumConnected(); got != tt.wanted {
				t.Errorf("%d connections with the one from elsewhere, want %d", got, tt.wanted)
			}
			for _, c := range ends {
				c.Close()
			}
		})
	}
}

// address returns an address as sockets have it, or as other streams may.
func address(text string, typed bool) net.Addr {
	if ap, err := netip.ParseAddrPort(text); typed && err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return fakeAddr(text)
}

func TestDifferentAddressesHavePlacesOfTheirOwn(t *testing.T) {
	a, addr := listen(t, &hooks{}, raw.Config{MaxPerPrefix: 1})
	var ends []net.Conn
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.2"} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Skipf("no socket at %s on this system: %v", from, err)
		}
		ends = append(ends, c)
	}
	until(t, "all are decided", func() bool { return a.Stats().Opened == 2 && a.Stats().RefusedPrefix == 1 })
	for _, c := range ends {
		c.Close()
	}
}

func TestPendingConnectionsAreBounded(t *testing.T) {
	const limit = 3
	shaking, goOn := make(chan struct{}, 10), make(chan struct{})
	h := &hooks{handshake: func(ctx context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
		shaking <- struct{}{}
		select {
		case <-goOn:
			return s, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}}
	_, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, h, raw.Config{MaxPending: limit})
	errs := make(chan error, limit)
	for range limit {
		go func() {
			_, err := b.Connect(context.Background(), addr)
			errs <- err
		}()
		wait(t, shaking, "a handshake")
	}
	var l *raw.LimitError
	if _, err := b.Connect(t.Context(), addr); !errors.As(err, &l) || l.Limit != "MaxPending" {
		t.Errorf("one more Connect: %v", err)
	}
	if s := b.Stats(); s.RefusedPending != 1 || b.NumConnecting() != limit {
		t.Errorf("%d connecting, %+v", b.NumConnecting(), s)
	}
	close(goOn)
	for range limit {
		if err := wait(t, errs, "a connection"); err != nil {
			t.Error(err)
		}
	}
	connect(t, b, addr)
}

// Places come back on success, failure, cancellation and time-out alike.
func TestPlacesComeBack(t *testing.T) {
	_, addr := listen(t, &hooks{}, raw.Config{})
	nowhere, _ := listen(t, nil, raw.Config{})
	if err := nowhere.StopListening(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, addr string
		handshake  func(context.Context, net.Conn, conn.Direction) (net.Conn, error)
		config     raw.Config
		cancel     bool
		want       error
	}{
		{"handshake fails", addr, func(context.Context, net.Conn, conn.Direction) (net.Conn, error) { return nil, errBad }, raw.Config{}, false, errBad},
		{"handshake returns nothing", addr, func(context.Context, net.Conn, conn.Direction) (net.Conn, error) { return nil, nil }, raw.Config{}, false, nil},
		{"handshake times out", addr, stall, raw.Config{HandshakeTimeout: 1}, false, raw.ErrTimeout},
		{"dial fails", "127.0.0.1:1", nil, raw.Config{}, false, nil},
		{"dial times out", "", nil, raw.Config{ConnectTimeout: 1}, false, raw.ErrTimeout},
		{"cancelled", addr, stall, raw.Config{}, true, context.Canceled},
		{"nonsense", "nonsense", nil, raw.Config{}, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.MaxConns, tt.config.MaxPerPrefix, tt.config.MaxPending = 1, 1, 1
			shaking := make(chan struct{}, 3)
			b := start(t, &hooks{handshake: func(ctx context.Context, s net.Conn, d conn.Direction) (net.Conn, error) {
				shaking <- struct{}{}
				if tt.handshake == nil {
					return s, nil
				}
				return tt.handshake(ctx, s, d)
			}}, tt.config)
			for range 3 {
				ctx, cancel := context.WithCancel(t.Context())
				if tt.cancel {
					go func() { <-shaking; cancel() }()
				}
				dial := func() (*raw.Conn, error) { return b.Connect(ctx, tt.addr) }
				if tt.addr == "" {
					dial = func() (*raw.Conn, error) {
						return b.ConnectUsing(ctx, func(ctx context.Context) (net.Conn, error) { return stall(ctx, nil, 0) })
					}
				}
				_, err := dial()
				cancel()
				var l *raw.LimitError
				if err == nil || errors.As(err, &l) || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("Connect: %v, want %v", err, tt.want)
				}
				if b.NumConnecting() != 0 || b.NumConnected() != 0 {
					t.Errorf("%d connecting, %d connected", b.NumConnecting(), b.NumConnected())
				}
			}
		})
	}
}
