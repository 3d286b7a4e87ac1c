package kcp

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// TestOpeningIsBounded: no more sessions wait to be taken from kcp-go than it has
// room for, and none where nobody listens.
func TestOpeningIsBounded(t *testing.T) {
	g := newGate(nil)
	at := func(port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(port))
	}
	if g.enter(at(1), 7) != nil {
		t.Error("one entered where nobody listens")
	}
	g.setOpen(true)
	for i := range maxOpening {
		if g.enter(at(i), 7) == nil {
			t.Fatalf("no room for opening %d, want %d", i+1, maxOpening)
		}
	}
	if g.enter(at(maxOpening), 7) != nil {
		t.Errorf("%d wait, want at most %d", maxOpening+1, maxOpening)
	}
	if g.enter(at(0), 7) != nil {
		t.Error("a conversation was opened twice")
	}
	g.admit(g.guests[at(0)].addr, 7, func(*guest) *session { return &session{} })
	if g.enter(at(maxOpening), 7) == nil {
		t.Error("no room after one was taken")
	}
	g.setOpen(false)
	if len(g.guests) != 1 || g.opening != 0 {
		t.Errorf("%d guests are left where nobody listens, %d without a session; want the one that has one", len(g.guests), g.opening)
	}
}

// TestGuestsGo: nothing is left of a connection that has ended.
func TestGuestsGo(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	tr, local := New(), conn.Local{Key: key}
	defer tr.Close()
	l, err := tr.Listen(t.Context(), local, identity.Address{Scheme: scheme, Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	guests := func() int {
		g := l.(*listener).door.socket.gate
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.guests)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	x, err := tr.Dial(ctx, local, key.ID(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := guests(); got != 1 {
		t.Errorf("%d guests, want the one that is connected", got)
	}
	x.Close(nil)
	y.Close(nil)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for guests() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d guests are left", guests())
		}
	}
}
