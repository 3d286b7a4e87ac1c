package secure

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// When the caller has closed the net.Listener beneath, nothing more arrives, and
// what has arrived is handed out.
func TestListenerClosedBeneath(t *testing.T) {
	n := loopback()
	var beneath net.Listener
	listen := n.Listen
	n.Listen = func(ctx context.Context, a identity.Address) (_ net.Listener, err error) {
		beneath, err = listen(ctx, a)
		return beneath, err
	}
	_, l, local := listenAt(t, n)
	dialler := NewTransport(loopback())
	defer dialler.Close()
	c, err := dialler.Dial(t.Context(), conn.Local{Key: newKey(t)}, local.Key.ID(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(nil)
	beneath.Close()
	if c, err := dialler.Dial(t.Context(), conn.Local{Key: newKey(t)}, local.Key.ID(), l.Addr()); err == nil {
		c.Close(nil)
		t.Error("a dial reached a socket that is closed")
	}
	in, err := l.Accept(t.Context())
	if err != nil {
		t.Fatalf("Accept of a connection that was there: %v", err)
	}
	in.Close(nil)
	if err := l.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, conn.ErrClosed) {
		t.Errorf("Accept after Close = %v, want ErrClosed", err)
	}
}

// What Prepare refuses is closed, and others are not disturbed.
func TestPrepare(t *testing.T) {
	n := loopback()
	refuse := true
	n.Prepare = func(ctx context.Context, nc net.Conn) (net.Conn, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the context of Prepare has no deadline")
		}
		if refuse {
			refuse = false
			return nil, errors.New("no")
		}
		return nc, nil
	}
	_, l, local := listenAt(t, n)
	dialler := NewTransport(loopback())
	defer dialler.Close()
	if c, err := dialler.Dial(t.Context(), conn.Local{Key: newKey(t)}, local.Key.ID(), l.Addr()); err == nil {
		c.Close(nil)
		t.Error("a connection that Prepare refused was made")
	}
	connectTo(t, l, local.Key.ID())
}
