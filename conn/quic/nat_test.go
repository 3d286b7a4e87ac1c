package quic_test

import (
	"testing"
)

// TestPeerAddressChanges: when a NAT gives the dialler another port, the
// connection goes on, and RemoteAddr tells the new one.
func TestPeerAddressChanges(t *testing.T) {
	e := newEnv(t)
	r := newRelay(t, e.listen.Addr())
	x, y := e.dial(t, r.addr())
	there, back := send(t, x, y), send(t, y, x)
	for range 2 { // quic-go does not follow more (its issue 5814)
		there.await(t, 1)
		before := y.RemoteAddr()
		if n := r.rebind(); n != 1 {
			t.Fatalf("the relay had %d sockets, want 1", n)
		}
		there.await(t, 1)
		back.await(t, 1)
		eventually(t, func() bool { return y.RemoteAddr() != before }, "the peer is still seen at %s", before)
	}
	if got, want := x.RemoteAddr(), r.addr(); got != want {
		t.Errorf("the dialler sees its peer at %s, want %s", got, want)
	}
	there.finish(t)
	back.finish(t)
	e.noMore(t)
}
