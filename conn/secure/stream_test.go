package secure

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
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

// Before anybody has called AcceptStream, not more than 8 streams wait for it, and
// 64 from then on; each that is accepted makes room for another.
func TestWaitingStreamsAreBounded(t *testing.T) {
	_, l, local := listenAt(t, loopback())
	a, b := connectTo(t, l, local.Key.ID())
	opened := 0
	openUntil := func(most int) {
		t.Helper()
		for opened < most {
			s, err := a.OpenStream(t.Context())
			if err != nil {
				t.Fatalf("stream %d: %v", opened, err)
			}
			t.Cleanup(func() { s.Close() })
			opened++
		}
		if s, err := a.OpenStream(t.Context()); !errors.Is(err, conn.CodeLimit) {
			t.Fatalf("stream %d = %v, %v; want CodeLimit", opened, s, err)
		}
	}
	acceptOne := func() {
		t.Helper()
		s, err := b.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
	}
	openUntil(maxUnasked)
	acceptOne()
	openUntil(maxWaiting + 1)
	acceptOne()
	openUntil(maxWaiting + 2)
}

// Not more than MaxStreams are open at once from the other end, and those that
// are closed make room.
func TestOpenStreamsAreBounded(t *testing.T) {
	const most = 3
	n := loopback()
	n.MaxStreams = most
	_, l, local := listenAt(t, n)
	a, b := connectTo(t, l, local.Key.ID())
	open := func() (net.Conn, error) {
		s, err := a.OpenStream(t.Context())
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { s.Close() })
		in, err := b.AcceptStream(t.Context())
		if err == nil {
			t.Cleanup(func() { in.Close() })
		}
		return in, err
	}
	var last net.Conn
	for i := range most {
		var err error
		if last, err = open(); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	if s, err := open(); !errors.Is(err, conn.CodeLimit) {
		t.Errorf("one more = %v, %v; want CodeLimit", s, err)
	}
	last.Close()
	if _, err := open(); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

// Where none are taken, the other end learns it, and nothing waits.
func TestNoStreams(t *testing.T) {
	n := loopback()
	n.MaxStreams = -1
	tr, l, local := listenAt(t, n)
	a, b := connectTo(t, l, local.Key.ID())
	if s, err := a.OpenStream(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("OpenStream = %v, %v; want errors.ErrUnsupported", s, err)
	}
	tr.registry.mu.Lock()
	known := len(tr.registry.conns)
	tr.registry.mu.Unlock()
	if known != 0 {
		t.Errorf("%d connections wait for streams", known)
	}
	if _, err := a.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// pipes is a network in memory, for tests in virtual time. An address is of no
// host.
func pipes() Network {
	arrive := make(chan net.Conn)
	return Network{
		Scheme: "pipe", Streams: true,
		Dial: func(ctx context.Context, _ identity.Address) (net.Conn, error) {
			x, y := net.Pipe()
			select {
			case arrive <- y:
				return x, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
		Listen: func(context.Context, identity.Address) (net.Listener, error) {
			return &pipeListener{arrive: arrive, closed: make(chan struct{})}, nil
		},
	}
}

type pipeListener struct {
	arrive <-chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrive:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return textAddr("pipe") }

// inPipes runs a test in virtual time with a connection over pipes.
func inPipes(t *testing.T, limit int, run func(t *testing.T, tr *Transport, l conn.Listener, a, b *streamed)) {
	synctest.Test(t, func(t *testing.T) {
		n, ctx := pipes(), context.Background()
		tr := NewTransport(n)
		defer tr.Close()
		local := conn.Local{Key: newKey(t), MaxHandshakes: limit}
		l, err := tr.Listen(ctx, local, identity.Address{Scheme: "pipe", Host: "x"})
		if err != nil {
			t.Fatal(err)
		}
		x, err := tr.Dial(ctx, local, local.Key.ID(), l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close(nil)
		y, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer y.Close(nil)
		run(t, tr, l, x.(*streamed), y.(*streamed))
	})
}

// A stream that nobody accepts is there for as long as a handshake may take, and
// leaves nothing.
func TestStreamsThatNobodyAcceptsEnd(t *testing.T) {
	inPipes(t, 0, func(t *testing.T, _ *Transport, l conn.Listener, a, b *streamed) {
		s, err := a.OpenStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		opened := time.Now()
		synctest.Wait() // what is left of the connection's handshake
		if n := l.(*listener).Pending(); n != 1 {
			t.Errorf("%d handshakes are counted beside a stream that waits, want 1", n)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the other end reads %v, want io.ErrUnexpectedEOF", err)
		}
		if took, want := time.Since(opened), (conn.Local{}).WithDefaults().HandshakeTimeout; took != want {
			t.Errorf("the stream ended after %v, want %v", took, want)
		}
		synctest.Wait()
		b.mu.Lock()
		left := len(b.live) + len(b.pending) + len(b.waiting)
		b.mu.Unlock()
		if n := l.(*listener).Pending(); n != 0 || left != 0 {
			t.Errorf("%d handshakes and %d streams are left", n, left)
		}
		taken, err := a.OpenStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		in, err := b.AcceptStream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		synctest.Wait()
		if n := l.(*listener).Pending(); n != 0 {
			t.Errorf("%d handshakes are counted beside a stream that was accepted", n)
		}
		time.Sleep(time.Hour)                           // one that was accepted lives on
		go func() { _, _ = taken.Write([]byte("x")) }() // what is read tells
		if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// All connections of a listener together have no more streams that wait than it
// has room for handshakes.
func TestStreamsThatWaitAreHandshakes(t *testing.T) {
	const room = 3
	inPipes(t, room, func(t *testing.T, _ *Transport, l conn.Listener, a, b *streamed) {
		var all [room + 2]net.Conn
		for i := range all {
			s, err := a.OpenStream(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			all[i] = s
		}
		for i, s := range all[:2] { // the oldest had to go
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("stream %d reads %v, want io.ErrUnexpectedEOF", i, err)
			}
		}
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		if n := l.(*listener).Pending(); n != room || len(b.waiting) != room || len(b.live) != room {
			t.Errorf("%d handshakes are counted, %d streams wait and %d are open, want %d of each", n, len(b.waiting), len(b.live), room)
		}
	})
}

// Streams that wait end with their connection and with the listener.
func TestStreamsThatWaitEndWithWhatTheyWaitFor(t *testing.T) {
	for name, end := range map[string]func(l conn.Listener, b *streamed){
		"the connection": func(_ conn.Listener, b *streamed) { b.Close(nil) },
		"the listener":   func(l conn.Listener, _ *streamed) { l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inPipes(t, 0, func(t *testing.T, _ *Transport, l conn.Listener, a, b *streamed) {
				s, err := a.OpenStream(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				began, ended := time.Now(), make(chan struct{})
				go func() {
					defer close(ended)
					end(l, b)
				}()
				if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
					t.Errorf("Read = %v, want an error that is not io.EOF", err)
				}
				<-ended // a Close that waits for another would stop the clock
				synctest.Wait()
				if n := l.(*listener).Pending(); n != 0 || time.Since(began) > time.Second {
					t.Errorf("%d handshakes are left after %v", n, time.Since(began))
				}
			})
		})
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
