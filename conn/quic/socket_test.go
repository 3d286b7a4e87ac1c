package quic_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/identity"
)

// TestDialsFromListeningSocket: hole punching needs that both use one port.
func TestDialsFromListeningSocket(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0"} {
		t.Run(at, func(t *testing.T) {
			e := newEnv(t)
			l, err := e.dialer.Listen(t.Context(), e.local, addr(at))
			if err != nil {
				t.Skipf("no such address here: %v", err)
			}
			x, y := e.connect(t)
			want := l.Addr().Host[strings.LastIndexByte(l.Addr().Host, ':'):]
			if got := y.RemoteAddr().Host; got != "127.0.0.1"+want {
				t.Errorf("the dial came from %s, want 127.0.0.1%s, which is listened on", got, want)
			}
			l.Close() // the connection keeps the socket
			if _, err := x.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if _, err := y.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHostNames(t *testing.T) {
	e := newEnv(t)
	to := e.listen.Addr()
	to.Host = "localhost" + to.Host[strings.LastIndexByte(to.Host, ':'):]
	c, err := e.dialer.Dial(t.Context(), conn.Local{Key: e.local.Key, HandshakeTimeout: 2 * time.Second}, e.local.Key.ID(), to)
	if err != nil {
		t.Fatal(err)
	}
	c.Close(nil)
}

// TestTransportCloseTells: closing a transport breaks its connections, and the
// others learn why.
func TestTransportCloseTells(t *testing.T) {
	e := newEnv(t)
	x, y := e.connect(t)
	if err := e.dialer.Close(); err != nil {
		t.Error(err)
	}
	if _, err := y.Read(make([]byte, 1)); !errors.Is(err, conn.CodeShutdown) {
		t.Errorf("the other side reads %v, want %q", err, conn.CodeShutdown)
	}
	if _, err := x.Read(make([]byte, 1)); !errors.Is(err, conn.CodeShutdown) {
		t.Errorf("this side reads %v, want %q", err, conn.CodeShutdown)
	}
}

// TestLongReason: at most 256 bytes cross, as valid UTF-8.
func TestLongReason(t *testing.T) {
	e := newEnv(t)
	x, y := e.connect(t)
	x.Close(&conn.CloseError{Code: conn.CodeRejected, Reason: strings.Repeat("ä", 500)})
	_, err := y.Read(make([]byte, 1))
	var ce *conn.CloseError
	if !errors.As(err, &ce) || ce.Code != conn.CodeRejected || ce.Reason != strings.Repeat("ä", 128) {
		t.Errorf("the other side reads %v, want the reason cut to 256 bytes", err)
	}
}

// TestHandshakeTimeout: a peer that never finishes is given up by the listener.
func TestHandshakeTimeout(t *testing.T) {
	tr := quic.New()
	defer tr.Close()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tr.Listen(t.Context(), conn.Local{Key: key, HandshakeTimeout: 200 * time.Millisecond}, addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	stalled(t, l.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := quic.WaitNoHandshakes(ctx, l); err != nil {
		t.Error(err)
	}
}
