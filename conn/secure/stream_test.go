package secure

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// loopback is a network over TCP.
func loopback() Network {
	return Network{
		Scheme: "loop", Streams: true,
		Dial: func(ctx context.Context, a identity.Address) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", a.Host)
		},
		Listen: func(ctx context.Context, a identity.Address) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", a.Host)
		},
	}
}

func listenAt(t *testing.T, n Network) (*Transport, conn.Listener, conn.Local) {
	t.Helper()
	tr, local := NewTransport(n), conn.Local{Key: newKey(t)}
	t.Cleanup(func() { tr.Close() })
	l, err := tr.Listen(t.Context(), local, identity.Address{Scheme: n.Scheme, Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return tr, l, local
}

// connectTo returns both ends of a new connection of another node.
func connectTo(t *testing.T, l conn.Listener, node identity.NodeID) (a, b *streamed) {
	t.Helper()
	tr := NewTransport(loopback())
	t.Cleanup(func() { tr.Close() })
	x, err := tr.Dial(t.Context(), conn.Local{Key: newKey(t)}, node, l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(nil); y.Close(nil) })
	return x.(*streamed), y.(*streamed)
}

func TestTokensAreOfTheSession(t *testing.T) {
	_, l, local := listenAt(t, loopback())
	a, b := connectTo(t, l, local.Key.ID())
	c, d := connectTo(t, l, local.Key.ID())
	if a.token != b.token || c.token != d.token {
		t.Error("the ends of a connection have different tokens")
	}
	if a.token == c.token || a.token == (token{}) {
		t.Error("two connections have one token, or none")
	}
}

// Who knows the token of another node's connection cannot put a stream into it,
// nor can anybody with a token that is none.
func TestStreamsOfStrangersAreRefused(t *testing.T) {
	_, l, local := listenAt(t, loopback())
	_, victim := connectTo(t, l, local.Key.ID())
	thief, _ := connectTo(t, l, local.Key.ID())
	for name, stolen := range map[string]token{"another node's": victim.token, "no": {1}} {
		thief.token = stolen
		s, err := thief.OpenStream(t.Context())
		var refused *conn.CloseError
		if !errors.As(err, &refused) || refused.Code != conn.CodeRejected || !refused.Remote {
			t.Errorf("OpenStream with %s token = %v, %v; want that it is rejected", name, s, err)
		}
	}
	victim.mu.Lock()
	defer victim.mu.Unlock()
	if n := len(victim.waiting) + len(victim.live) + len(victim.pending); n != 0 {
		t.Errorf("%d streams are in the connection of the victim", n)
	}
}

// Not more than 64 streams wait for AcceptStream; each that is accepted makes
// room for another.
func TestWaitingStreamsAreBounded(t *testing.T) {
	_, l, local := listenAt(t, loopback())
	a, b := connectTo(t, l, local.Key.ID())
	open := func() error {
		s, err := a.OpenStream(t.Context())
		if err == nil {
			t.Cleanup(func() { s.Close() })
		}
		return err
	}
	for i := range maxWaiting {
		if err := open(); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	if err := open(); !errors.Is(err, conn.CodeLimit) {
		t.Errorf("one stream more = %v, want CodeLimit", err)
	}
	s, err := b.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := open(); err != nil {
		t.Errorf("after one was accepted: %v", err)
	}
}

// Not more than 256 are open at once, at either end, and those that are closed
// make room.
func TestOpenStreamsAreBounded(t *testing.T) {
	c := &streamed{}
	begin := func() (*stream, error) {
		s := &stream{owner: c}
		if err := c.begin(s, func(error) {}); err != nil {
			return nil, err
		}
		return s, c.settle(s, nil)
	}
	var last *stream
	for i := range maxStreams {
		var err error
		if last, err = begin(); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	if _, err := begin(); err != errTooMany {
		t.Errorf("one more = %v, want %v", err, errTooMany)
	}
	c.forget(last)
	if _, err := begin(); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

// A stream that is there before its connection is waited for, for a second.
func TestStreamMayBeBeforeItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r registry
		want := &streamed{token: token{1}}
		found := make(chan *streamed)
		go func() { found <- r.find(t.Context(), want.token) }()
		time.Sleep(patience / 2)
		r.add(&streamed{token: token{2}})
		synctest.Wait()
		r.add(want)
		if got := <-found; got != want {
			t.Errorf("found %p, want %p", got, want)
		}
		start := time.Now()
		if got := r.find(t.Context(), token{3}); got != nil || time.Since(start) != patience {
			t.Errorf("found %p after %v, want nothing after %v", got, time.Since(start), patience)
		}
		r.remove(want.token)
		if got := r.find(t.Context(), want.token); got != nil {
			t.Errorf("found %p, which was removed", got)
		}
	})
}

// Connections leave no trace in the transport.
func TestRegistryForgets(t *testing.T) {
	tr, l, local := listenAt(t, loopback())
	for range 3 {
		a, b := connectTo(t, l, local.Key.ID())
		a.Close(nil)
		b.Close(nil)
	}
	tr.registry.mu.Lock()
	defer tr.registry.mu.Unlock()
	if n := len(tr.registry.conns); n != 0 {
		t.Errorf("%d connections are registered, want none", n)
	}
}

// A connection that breaks is not one that was closed: somebody on the wire can
// do the one and not the other.
func TestTornIsNotClosed(t *testing.T) {
	x, y := net.Pipe()
	a, b := pair(t, x, y)
	go x.Close()
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the wire was cut Read = %v, want io.ErrUnexpectedEOF", err)
	}
	_ = a
	x, y = net.Pipe()
	a, b = pair(t, x, y)
	go a.Close(nil)
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after Close Read = %v, want io.EOF", err)
	}
}
