package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// A gate is a net.Listener whose connections a test lets in.
type gate struct {
	came   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newGate() *gate { return &gate{came: make(chan net.Conn), closed: make(chan struct{})} }

func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.came:
		if c == nil {
			panic("boom")
		}
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

func (g *gate) Close() error   { g.once.Do(func() { close(g.closed) }); return nil }
func (g *gate) Addr() net.Addr { return from("gate") }

// A from is the address of who comes through a gate.
type from string

func (f from) Network() string { return "gate" }
func (f from) String() string  { return string(f) }

type arrived struct {
	net.Conn
	from from
}

func (a arrived) RemoteAddr() net.Addr { return a.from }

// arrive lets a connection in and returns its other end.
func (g *gate) arrive(addr from) net.Conn {
	a, b := net.Pipe()
	g.came <- arrived{a, addr}
	synctest.Wait()
	return b
}

// over reports whether a connection has been given up.
func over(t *testing.T, c net.Conn) bool {
	t.Helper()
	if c.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return true
	}
	_, err := c.Read(make([]byte, 1))
	return err == io.EOF
}

// Logins that stall keep nobody out where MaxConns is what they have reached,
// and none of those that have logged in is given up for it.
func TestStalledLoginsAtMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := with(noteHooks{OnLogin: func(ctx context.Context, l *noteLink) error { _, err := l.Recv(ctx); return err }})
		config.MaxConns, config.LoginTimeout = 3, time.Hour
		g := newGate()
		s, err := link.ListenOn(g, config)
		must(t, err)
		login := with(noteHooks{OnLogin: func(ctx context.Context, l *noteLink) error { return l.Send(ctx, note{Text: "me"}) }})
		var stalled []net.Conn
		for range 3 {
			stalled = append(stalled, g.arrive("[::1]:1"))
		}
		for i := range 3 {
			x, err := link.New(noContext, g.arrive("[::1]:1"), true, login)
			must(t, err)
			defer x.Close()
			ctx, stop := context.WithTimeout(noContext, time.Minute)
			defer stop()
			y, err := s.Accept(ctx)
			must(t, err)
			defer y.Close()
			if open, refused := s.Open(); open != 3 || refused != 0 {
				t.Errorf("with %d logged in: %d open, %d refused; want 3, 0", i+1, open, refused)
			}
			for j, c := range stalled {
				if got, want := over(t, c), j <= i; got != want {
					t.Errorf("with %d logged in, of stalled login %d the end is %t", i+1, j, got)
				}
			}
		}
		if c := g.arrive("[::1]:1"); !over(t, c) {
			t.Error("beyond MaxConns of links one more got in")
		}
		if open, refused := s.Open(); open != 3 || refused != 1 {
			t.Errorf("%d open, %d refused; want 3, 1", open, refused)
		}
		must(t, s.Close())
	})
}

// A flood from one prefix of addresses takes the places of its own logins, not
// that of who came before it from elsewhere.
func TestFloodKeepsOthers(t *testing.T) {
	for name, c := range map[string]struct{ honest, flood from }{
		"IPv6":        {"[2001:db8:1:1::1]:1", "[2001:db8:1:2::%d]:1"},
		"IPv4":        {"192.0.2.1:1", "192.0.2.2:1"},
		"IPv4 mapped": {"[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1"},
		"no address":  {"192.0.2.1:1", "somewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := with(noteHooks{OnLogin: func(ctx context.Context, l *noteLink) error { _, err := l.Recv(ctx); return err }})
				config.MaxLogins, config.LoginTimeout = 4, time.Hour
				g := newGate()
				s, err := link.ListenOn(g, config)
				must(t, err)
				honest := g.arrive(c.honest)
				var flood []net.Conn
				for range 10 {
					flood = append(flood, g.arrive(c.flood))
				}
				if over(t, honest) {
					t.Error("who came before the flood was given up for it")
				}
				for i, c := range flood {
					if got, want := over(t, c), i < 7; got != want {
						t.Errorf("of the flood, number %d: the end is %t", i, got)
					}
				}
				must(t, s.Close())
			})
		})
	}
}

// Hooks that do not return although they are given up are bounded too.
func TestStuckLoginsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var entered atomic.Int32
		config := with(noteHooks{OnLogin: func(context.Context, *noteLink) error {
			entered.Add(1)
			<-release
			return errors.New("late")
		}})
		config.MaxConns, config.MaxLogins = 2, 3
		g := newGate()
		s, err := link.ListenOn(g, config)
		must(t, err)
		for range 10 {
			g.arrive("[::1]:1")
		}
		if n := entered.Load(); n != 5 {
			t.Errorf("%d hooks run, want MaxConns and MaxLogins", n)
		}
		if open, refused := s.Open(); open != 2 || refused != 5 {
			t.Errorf("%d open, %d refused; want 2, 5", open, refused)
		}
		close(release)
		synctest.Wait()
		if open, _ := s.Open(); open != 0 {
			t.Errorf("%d open at the end", open)
		}
		must(t, s.Close())
	})
}

// A listener that panics is closed, and Accept says so.
func TestAcceptPanics(t *testing.T) {
	g := newGate()
	s, err := link.ListenOn(g, noteConfig{})
	must(t, err)
	g.came <- nil
	_, err = s.Accept(noContext)
	wantPanic(t, err)
	<-g.closed
	must(t, s.Close())
}

// A login whose link has ended frees its place once, though its hook goes on:
// giving it up makes no room among links.
func TestDeadLoginIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, first := make(chan struct{}), true
		config := with(noteHooks{OnLogin: func(_ context.Context, l *noteLink) error {
			if first {
				first = false
				l.Abort(nil)
				<-release
			}
			return nil
		}})
		config.MaxConns = 2
		g := newGate()
		s, err := link.ListenOn(g, config)
		must(t, err)
		g.arrive("[::1]:1") // its link has ended
		for range 2 {
			g.arrive("[::1]:1")
			k, err := s.Accept(noContext)
			must(t, err)
			defer k.Close()
		}
		if !over(t, g.arrive("[::1]:1")) {
			t.Error("a third link of two")
		}
		if open, refused := s.Open(); open != 2 || refused != 1 {
			t.Errorf("%d open, %d refused; want 2, 1", open, refused)
		}
		close(release)
		must(t, s.Close())
	})
}

// A login that has been given up gets no link, though its hook takes no notice
// and somebody waits in Accept.
func TestGivenUpIsNotAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 { // either of two may come first
			release, first := make(chan struct{}), true
			config := with(noteHooks{OnStream: func(_ context.Context, s link.Stream, _ bool) (link.Stream, error) {
				if first {
					first = false
					<-release
				}
				return s, nil
			}})
			config.MaxLogins = 1
			g := newGate()
			s, err := link.ListenOn(g, config)
			must(t, err)
			given := g.arrive("[::1]:1")
			g.arrive("[::1]:2")
			k, err := s.Accept(noContext)
			must(t, err)
			accepted := make(chan error)
			go func() { _, err := s.Accept(noContext); accepted <- err }()
			synctest.Wait()
			close(release)
			if !over(t, given) {
				t.Error("the first goes on")
			}
			if open, _ := s.Open(); open != 1 {
				t.Errorf("%d open, want one", open)
			}
			must(t, s.Close())
			if err := <-accepted; !errors.Is(err, link.ErrClosed) {
				t.Fatalf("the first was accepted: %v", err)
			}
			must(t, k.Close())
		}
	})
}
