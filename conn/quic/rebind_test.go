package quic_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/identity"
)

// noMore checks that nobody has dialled again: the next connection to be accepted
// is one that is dialled now.
func (e *env) noMore(t *testing.T) {
	t.Helper()
	x, y := e.dial(t, e.listen.Addr())
	if port(x.LocalAddr()) != port(y.RemoteAddr()) {
		t.Errorf("another connection was made, with %s", y.RemoteAddr())
	}
}

// TestRebind moves connections while they carry much both ways, and an idle one:
// nothing is lost, nobody shakes hands.
func TestRebind(t *testing.T) {
	e := newEnv(t)
	x, y := e.connect(t)
	idle, idleIn := e.connect(t)
	s, err := x.(conn.StreamConn).OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there, back := send(t, x, y), send(t, y, x)
	seen := map[string]bool{x.LocalAddr().Host: true}
	for range 2 {
		there.await(t, 1)
		back.await(t, 1)
		if err := e.dialer.Rebind(t.Context(), "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		at := x.LocalAddr().Host
		if seen[at] || idle.LocalAddr().Host != at {
			t.Fatalf("after Rebind the connections are at %s and %s; want both at one new place", at, idle.LocalAddr())
		}
		seen[at] = true
		for _, c := range []conn.Conn{y, idleIn} {
			eventually(t, func() bool { return c.RemoteAddr().Host == at }, "the peer is seen at %s, want %s", c.RemoteAddr(), at)
		}
	}
	there.await(t, 1)
	there.finish(t)
	back.finish(t)
	if _, err := s.Write([]byte("x")); err != nil {
		t.Errorf("a stream that was opened before: %v", err)
	}
	e.noMore(t)
	if z, _ := e.dial(t, e.listen.Addr()); z.LocalAddr() != x.LocalAddr() {
		t.Errorf("a later dial goes out from %s, want %s", z.LocalAddr(), x.LocalAddr())
	}
}

// TestRebindOfIdle: the peer follows one that says nothing, and does not even send
// keep-alives.
func TestRebindOfIdle(t *testing.T) {
	e := newEnvWith(t, quic.Config{KeepAlive: -1})
	x, y := e.connect(t)
	for range 2 {
		if err := e.dialer.Rebind(t.Context(), "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		at := x.LocalAddr().Host
		eventually(t, func() bool { return y.RemoteAddr().Host == at }, "the peer is seen at %s, want %s", y.RemoteAddr(), at)
	}
}

// TestRebindOften: quic-go's ends run out of connection IDs for new paths (its
// issue 5814). That is an error of Rebind, and no more.
func TestRebindOften(t *testing.T) {
	e := newEnv(t)
	x, y := e.connect(t)
	there, back := send(t, x, y), send(t, y, x)
	for range 3 {
		there.await(t, 1)
		back.await(t, 1)
		before := x.LocalAddr()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err := e.dialer.Rebind(ctx, "127.0.0.1:0")
		cancel()
		if moved := x.LocalAddr() != before; moved != (err == nil) {
			t.Errorf("Rebind = %v; that the connection has moved is %t", err, moved)
		}
	}
	there.await(t, 1)
	there.finish(t)
	back.finish(t)
	e.noMore(t)
}

// TestRebindLeavesNothing: a Rebind that can move nobody any more opens no socket.
func TestRebindLeavesNothing(t *testing.T) {
	e := newEnv(t)
	x, y := e.connect(t)
	there := send(t, x, y)
	for range 2 {
		there.await(t, 1)
		if err := e.dialer.Rebind(t.Context(), "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	there.await(t, 1)
	before, sockets := runtime.NumGoroutine(), quic.Sockets(e.dialer)
	at := x.LocalAddr()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for range 20 {
		if err := e.dialer.Rebind(ctx, "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "1 of 1") {
			t.Fatalf("a third Rebind = %v, want an error that says who stays", err)
		}
	}
	if got := quic.Sockets(e.dialer); got != sockets {
		t.Errorf("%d sockets after 20 Rebinds in vain, want %d", got, sockets)
	}
	if got := runtime.NumGoroutine(); got > before+10 {
		t.Errorf("%d goroutines after 20 Rebinds in vain, want %d", got, before)
	}
	if x.LocalAddr() != at {
		t.Errorf("it is at %s, want %s", x.LocalAddr(), at)
	}
	there.finish(t)
	// One that has never moved still does.
	z, _ := e.dial(t, e.listen.Addr())
	at = z.LocalAddr()
	if err := e.dialer.Rebind(t.Context(), "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "1 of 2") || z.LocalAddr() == at {
		t.Errorf("Rebind = %v, that the second has moved is %t; want that one stays, and one moves", err, z.LocalAddr() != at)
	}
}

// TestRebindFromDead: the address of a laptop is gone while it was sending. The
// window of the old path is full, and no answer will ever come there.
func TestRebindFromDead(t *testing.T) {
	e := newEnv(t)
	r := newRelay(t, e.listen.Addr())
	x, y := e.dial(t, r.addr())
	there := send(t, x, y)
	there.await(t, 1)
	dead := netip.MustParseAddrPort(quic.UDPAddr(x))
	r.block(func(from netip.AddrPort) bool { return from == dead })
	stuck(x)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := e.dialer.Rebind(ctx, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	there.await(t, 1)
	there.finish(t)
	e.noMore(t)
}

// stuck waits until nothing more is written.
func stuck(c conn.Conn) {
	for last := c.Stats().BytesSent; ; {
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
		now := c.Stats().BytesSent
		if now == last {
			return
		}
		last = now
	}
}

// TestRebindInVain: where nothing can be reached from the new place, all stays
// as it was.
func TestRebindInVain(t *testing.T) {
	e := newEnv(t)
	r := newRelay(t, e.listen.Addr())
	x, y := e.dial(t, r.addr())
	old := netip.MustParseAddrPort(quic.UDPAddr(x))
	before := x.LocalAddr()
	r.block(func(from netip.AddrPort) bool { return from != old })
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if err := e.dialer.Rebind(ctx, "127.0.0.1:0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Rebind = %v, want the error of its context", err)
	}
	if err := e.dialer.Rebind(t.Context(), "192.0.2.1:0"); err == nil {
		t.Error("Rebind to an address that this machine has not succeeded")
	}
	if err := e.dialer.Rebind(t.Context(), "localhost:0"); err == nil {
		t.Error("Rebind to a name succeeded")
	}
	if err := e.dialer.Rebind(t.Context(), "[::1]:0"); err == nil {
		t.Error("Rebind to where the peer cannot be reached from succeeded")
	}
	if x.LocalAddr() != before {
		t.Errorf("the connection is at %s, want %s as before", x.LocalAddr(), before)
	}
	there, back := send(t, x, y), send(t, y, x)
	there.await(t, 1)
	there.finish(t)
	back.finish(t)
	if z, _ := e.dial(t, e.listen.Addr()); z.LocalAddr() != before {
		t.Errorf("a later dial goes out from %s, want %s as before", z.LocalAddr(), before)
	}
}

// TestRebindOfListener: a dialled connection leaves a listening socket, which
// goes on.
func TestRebindOfListener(t *testing.T) {
	e := newEnv(t)
	l, err := e.dialer.Listen(t.Context(), e.local, addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	x, y := e.connect(t)
	if x.LocalAddr() != l.Addr() {
		t.Fatalf("the dial goes out from %s, want %s", x.LocalAddr(), l.Addr())
	}
	if err := e.dialer.Rebind(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if x.LocalAddr() == l.Addr() {
		t.Error("the connection has not moved")
	}
	there := send(t, x, y)
	there.await(t, 1)
	there.finish(t)
	accepted, err := e.listener.Dial(t.Context(), e.local, e.local.Key.ID(), l.Addr())
	if err != nil {
		t.Fatalf("the listener has gone: %v", err)
	}
	accepted.Close(nil)
	e.dialer.Close()
	if err := e.dialer.Rebind(t.Context(), ""); !errors.Is(err, conn.ErrClosed) {
		t.Errorf("Rebind after Close = %v, want ErrClosed", err)
	}
}

func port(a identity.Address) string {
	_, p, _ := net.SplitHostPort(a.Host)
	return p
}
