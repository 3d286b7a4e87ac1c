package raw_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

// greeted is a handshake that waits for a byte of who has come.
func greeted(_ context.Context, s net.Conn, d conn.Direction) (net.Conn, error) {
	if d == conn.Incoming {
		if _, err := s.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Those that come in and say nothing take no place of those that this node dials.
func TestStalledStrangersDoNotKeepTheNodeFromDialling(t *testing.T) {
	const limit = 4
	n, addr := listen(t, &hooks{handshake: greeted}, raw.Config{MaxPending: limit})
	for range limit {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	until(t, "all places are taken", func() bool { return n.NumConnecting() == limit })
	_, other := listen(t, &hooks{}, raw.Config{})
	if _, err := n.Connect(t.Context(), other); err != nil {
		t.Errorf("Connect beside %d stalled strangers: %v", limit, err)
	}
	if got := n.NumConnecting(); got != limit {
		t.Errorf("%d strangers are left, want %d", got, limit)
	}
}

// However few hosts the stalled strangers come from, and however often they try,
// who comes from elsewhere is served at once, at the cost of the one that has
// stalled longest.
func TestStalledStrangersKeepNobodyOut(t *testing.T) {
	const limit = 12
	for _, hosts := range []int{1, 2, 3, limit / 2} {
		t.Run(fmt.Sprintf("%d hosts", hosts), func(t *testing.T) {
			bubble(t, &hooks{handshake: greeted}, raw.Config{MaxPending: limit, HandshakeTimeout: -1}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				var strangers []net.Conn
				first := open(t, l) // one of the first host is there, and stays
				defer first.Close()
				if _, err := first.Write([]byte("!")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				stall := func() {
					for i := range 3 * limit {
						c, err := l.dial(fmt.Sprintf("192.0.2.%d:%d", 1+i%hosts, 1000+i))
						if err != nil {
							t.Fatal(err)
						}
						strangers = append(strangers, c)
						synctest.Wait()
					}
				}
				stall()
				refused := n.Stats().RefusedPending
				if got := n.NumConnecting(); got != limit || refused != 2*limit {
					t.Errorf("%d stall and %d were refused, want %d and %d", got, refused, limit, 2*limit)
				}
				for i := range 3 {
					c, err := l.dial(fmt.Sprintf("198.51.100.%d:1", i))
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if _, err := c.Write([]byte("!")); err != nil {
						t.Errorf("the node does not listen to an honest one: %v", err)
					}
					synctest.Wait()
					if got := n.NumConnected(); got != 1+i+1 {
						t.Errorf("%d connections are there, want %d", got, 1+i+1)
					}
					if i == 0 && (n.Stats().RefusedPending != refused+1 || !gone(strangers[0])) {
						t.Errorf("%d gave way, want the oldest", n.Stats().RefusedPending-refused)
					}
					stall()
				}
				for _, c := range strangers {
					c.Close()
				}
			})
		})
	}
}

// gone reports whether the other end of a pipe is closed, in a bubble where it
// says nothing.
func gone(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(1))
	_, err := c.Read(make([]byte, 1))
	var timeout net.Error
	return !errors.As(err, &timeout)
}

// Hosts that have as many places as others do not throw each other out in turns.
func TestEqualSharesAreKept(t *testing.T) {
	bubble(t, &hooks{handshake: greeted}, raw.Config{MaxPending: 5, HandshakeTimeout: -1}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		var all []net.Conn
		for i, host := range []int{1, 1, 1, 2, 2, 2, 1, 2, 1} { // 3 and 2 places
			c, err := l.dial(fmt.Sprintf("192.0.2.%d:%d", host, i))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			all = append(all, c)
			synctest.Wait()
		}
		for i, c := range all {
			if got, want := gone(c), i >= 5; got != want {
				t.Errorf("connection %d is gone: %t, want %t", i, got, want)
			}
		}
	})
}

// Where no host has more than another, what is accepted beyond the limit waits
// until a place is free.
func TestIncomingConnectionsWaitForAPendingPlace(t *testing.T) {
	const limit, all = 2, 6
	for _, tt := range []struct {
		name   string
		from   func(i int) string
		config raw.Config
	}{
		{"hosts with one each", func(i int) string { return fmt.Sprintf("192.0.2.%d:1", i) }, raw.Config{}},
		{"prefixes not told apart", func(int) string { return "192.0.2.1:1" }, raw.Config{MaxPerPrefix: -1}},
		{"no IP", func(int) string { return "somewhere" }, raw.Config{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shaking, goOn := make(chan struct{}, all), make(chan struct{})
			l := newFakeListener()
			tt.config.NewListener, tt.config.MaxPending = l.open, limit
			a, _ := listen(t, &hooks{handshake: func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
				shaking <- struct{}{}
				<-goOn
				return s, nil
			}}, tt.config)
			var ends sync.WaitGroup
			for i := range all {
				ends.Go(func() {
					if c, err := l.dial(tt.from(i)); err == nil {
						t.Cleanup(func() { c.Close() })
					}
				})
			}
			for range limit {
				wait(t, shaking, "a handshake")
			}
			if n := a.NumConnecting(); n != limit {
				t.Errorf("%d connecting, want %d", n, limit)
			}
			close(goOn)
			ends.Wait()
			until(t, "all are there", func() bool { return a.NumConnected() == all })
			if s := a.Stats(); s.RefusedPending != 0 {
				t.Errorf("%d were refused", s.RefusedPending)
			}
		})
	}
}

// What waits for a place when the listener closes is refused, and counted.
func TestWhatWaitsWhenTheListenerClosesIsRefused(t *testing.T) {
	bubble(t, &hooks{handshake: greeted}, raw.Config{MaxPending: 1, MaxPerPrefix: -1}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		defer open(t, l).Close()
		waits := open(t, l)
		if err := n.StopListening(); err != nil {
			t.Fatal(err)
		}
		if s := n.Stats(); s.RefusedPending != 1 || !gone(waits) || n.NumConnecting() != 1 {
			t.Errorf("%d connecting, %+v", n.NumConnecting(), s)
		}
	})
}

// How many connections with a prefix there are is forgotten with the last.
func TestPrefixesAreForgotten(t *testing.T) {
	bubble(t, &hooks{handshake: greeted}, raw.Config{MaxPerPrefix: 1, MaxPending: 3, HandshakeTimeout: time.Second}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		var ends []net.Conn
		for i := range 9 { // some get there, some time out, some are refused
			c, err := l.dial(fmt.Sprintf("192.0.2.%d:1", i/2))
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, c)
			if i%4 == 0 {
				go func() { _, _ = c.Write([]byte("!")) }()
			}
			synctest.Wait()
		}
		if got, coming := raw.Tallies(n); got != 5 || coming != n.NumConnecting() {
			t.Errorf("%d prefixes are counted with %d coming, want 5 and %d", got, coming, n.NumConnecting())
		}
		time.Sleep(time.Second)
		for _, c := range ends {
			c.Close()
		}
		synctest.Wait()
		if got, _ := raw.Tallies(n); got != 0 {
			t.Errorf("%d prefixes are counted without a connection", got)
		}
	})
}

// What a name stood for counts when it is known, before the handshake.
func TestPrefixesCountForDialsByName(t *testing.T) {
	_, addr := listen(t, &hooks{}, raw.Config{})
	_, port, _ := net.SplitHostPort(addr)
	var shaken atomic.Int32
	b := start(t, &hooks{handshake: func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
		shaken.Add(1)
		return s, nil
	}}, raw.Config{MaxPerPrefix: 1})
	c := connect(t, b, net.JoinHostPort("localhost", port))
	var l *raw.LimitError
	if _, err := b.Connect(t.Context(), net.JoinHostPort("localhost", port)); !errors.As(err, &l) || l.Limit != "MaxPerPrefix" || l.Prefix.String() != "127.0.0.1/32" {
		t.Errorf("a second connection: %v, want that 127.0.0.1/32 has its share", err)
	}
	if got := shaken.Load(); got != 1 {
		t.Errorf("%d handshakes, want that of the first connection only", got)
	}
	c.Disconnect(nil)
	wait(t, c.Done(), "the end")
	connect(t, b, net.JoinHostPort("localhost", port))
}

// A handshake that learns where a connection comes from moves it to that prefix:
// the header of a balancer does so.
func TestAHandshakeTellsThePrefix(t *testing.T) {
	h := &hooks{handshake: func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
		host := make([]byte, 1)
		if _, err := s.Read(host); err != nil {
			return nil, err
		}
		return fakeConn{s, fakeAddr(fmt.Sprintf("203.0.113.%d:1", host[0]))}, nil
	}}
	bubble(t, h, raw.Config{MaxPerPrefix: 2}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		for i, want := range []struct{ host, connected, refused int }{{1, 1, 0}, {2, 2, 0}, {1, 3, 0}, {1, 3, 1}, {2, 4, 1}, {3, 5, 1}} {
			c := open(t, l) // all from the balancer
			defer c.Close()
			if _, err := c.Write([]byte{byte(want.host)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := n.Stats(); n.NumConnected() != want.connected || int(got.RefusedPrefix) != want.refused {
				t.Errorf("connection %d: %d connected, %d refused, want %+v", i, n.NumConnected(), got.RefusedPrefix, want)
			}
		}
		if got, coming := raw.Tallies(n); got != 3 || coming != 0 { // the balancer has none any more
			t.Errorf("%d prefixes are counted with %d coming, want 3 and none", got, coming)
		}
	})
}
