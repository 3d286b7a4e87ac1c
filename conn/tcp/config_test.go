package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

const handshakes = 10 * time.Second

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"Backlog":     {Backlog: -1},
		"ReadBuffer":  {ReadBuffer: -1},
		"WriteBuffer": {WriteBuffer: -5},
		"Proxies":     {Proxies: []netip.Prefix{{}}},
		"Streams":     {Streams: maxStreams + 1},
	} {
		tr := NewWith(c)
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		local, at := conn.Local{Key: key}, identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"}
		if _, err := tr.Listen(t.Context(), local, at); err == nil || !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("Listen = %v, want an error that names %s", err, name)
		}
		if _, err := tr.Dial(t.Context(), local, identity.NodeID{}, at); err == nil || !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("Dial = %v, want an error that names %s", err, name)
		}
		tr.Close()
	}
}

// both connects through two transports of one configuration.
func both(t *testing.T, c Config) (a, b conn.Conn) {
	t.Helper()
	tr := NewWith(c)
	t.Cleanup(func() { tr.Close() })
	l, local := listenLocal(t, tr, handshakes)
	return join(t, tr, l, local)
}

func join(t *testing.T, tr *Transport, l conn.Listener, local conn.Local) (a, b conn.Conn) {
	t.Helper()
	a, err := tr.Dial(t.Context(), local, local.Key.ID(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(nil); b.Close(nil) })
	return a, b
}

func TestBindIsWhereDialsComeFrom(t *testing.T) {
	at := netip.MustParseAddr("127.0.0.77")
	probe, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Skipf("the system has no %s: %v", at, err)
	}
	probe.Close()
	_, b := both(t, Config{Bind: netip.AddrPortFrom(at, 0)})
	if host := b.RemoteAddr().Host; !strings.HasPrefix(host, at.String()+":") {
		t.Errorf("the connection is from %s, want from %s", host, at)
	}
}

func TestControlSeesEverySocket(t *testing.T) {
	var mu sync.Mutex // guards seen
	seen := map[string]int{}
	both(t, Config{Control: func(_ context.Context, network, _ string, c syscall.RawConn) error {
		mu.Lock()
		defer mu.Unlock()
		seen[network]++
		return c.Control(func(uintptr) {})
	}})
	mu.Lock()
	defer mu.Unlock()
	if seen["tcp4"] != 2 {
		t.Errorf("Control has seen %v, want a listening and a dialling socket of tcp4", seen)
	}
	want := errors.New("not this one")
	tr := NewWith(Config{Control: func(context.Context, string, string, syscall.RawConn) error { return want }})
	defer tr.Close()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Listen(t.Context(), conn.Local{Key: key}, identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"}); !errors.Is(err, want) {
		t.Errorf("Listen = %v, want the error of Control", err)
	}
}

// Tiny buffers: a write is sent in many pieces, and arrives.
func TestTinyBuffers(t *testing.T) {
	a, b := both(t, Config{WriteBuffer: 2048})
	const size = 300_000
	var work sync.WaitGroup
	work.Go(func() {
		if n, err := a.Write(make([]byte, size)); n != size || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	})
	if _, err := io.ReadFull(b, make([]byte, size)); err != nil {
		t.Error(err)
	}
	work.Wait()
	b.Close(nil)
}

func TestCallersOwnSockets(t *testing.T) {
	var dialled, listened int
	tr := NewWith(Config{
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled++
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			listened++
			return new(net.ListenConfig).Listen(ctx, network, address)
		},
	})
	defer tr.Close()
	l, local := listenLocal(t, tr, handshakes)
	a, _ := join(t, tr, l, local)
	s, err := a.(conn.StreamConn).OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if dialled != 2 || listened != 1 {
		t.Errorf("Dial was called %d times and Listen %d times, want 2, for a connection and a stream, and 1", dialled, listened)
	}
	empty := NewWith(Config{
		Dial:   func(context.Context, string, string) (net.Conn, error) { return nil, nil },
		Listen: func(context.Context, string, string) (net.Listener, error) { return nil, nil },
	})
	defer empty.Close()
	if _, err := empty.Dial(t.Context(), local, identity.NodeID{}, l.Addr()); err == nil {
		t.Error("a Dial that returns nothing has made a connection")
	}
	if _, err := empty.Listen(t.Context(), local, l.Addr()); err == nil {
		t.Error("a Listen that returns nothing has made a listener")
	}
}

// Streams are those that the other end may open at a time, and none if it is
// negative.
func TestStreamsAreBounded(t *testing.T) {
	a, b := both(t, Config{Streams: 2})
	for i := range 3 {
		s, err := a.(conn.StreamConn).OpenStream(t.Context())
		if i == 2 {
			if !errors.Is(err, conn.CodeLimit) {
				t.Errorf("the third of two streams = %v, %v; want CodeLimit", s, err)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		in, err := b.(conn.StreamConn).AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
	}
	a, _ = both(t, Config{Streams: -1})
	if s, err := a.(conn.StreamConn).OpenStream(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("OpenStream to who takes none = %v, %v; want errors.ErrUnsupported", s, err)
	}
}

func TestKeepAlive(t *testing.T) {
	for _, test := range []struct {
		set  time.Duration
		each time.Duration
		want net.KeepAliveConfig
	}{
		{0, 15 * time.Second, net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3}},
		{time.Minute, time.Minute, net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: time.Minute, Count: 3}},
		{-1, -1, net.KeepAliveConfig{}},
	} {
		c := Config{KeepAlive: test.set}
		if each, got := c.keepAlive(); each != test.each || got != test.want {
			t.Errorf("KeepAlive %v gives %v and %+v, want %v and %+v", test.set, each, got, test.each, test.want)
		}
	}
	both(t, Config{KeepAlive: -1})
}
