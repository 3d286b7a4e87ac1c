package quic_test

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/identity"
)

// initial returns what looks like the first packet of a QUIC connection.
func initial() []byte {
	p := make([]byte, 1200)
	rand.Read(p)
	p[0] = 0xc3 // Initial, a packet number of 4 bytes
	binary.BigEndian.PutUint32(p[1:], 1)
	p[5] = 8  // of the destination's connection ID
	p[14] = 8 // of the source's
	p[23] = 0 // no token
	binary.BigEndian.PutUint16(p[24:], 0x4000|uint16(len(p)-26))
	return p
}

// A halfway is a socket of a dialler that proves its address and then never
// finishes its hello: of the packets that bear the proof, one goes out.
type halfway struct {
	net.PacketConn
	proven *atomic.Bool
}

func (h halfway) WriteTo(p []byte, to net.Addr) (int, error) {
	if hasToken(p) && !h.proven.CompareAndSwap(false, true) {
		return len(p), nil
	}
	return h.PacketConn.WriteTo(p, to)
}

// hasToken reports whether an Initial bears a token.
func hasToken(p []byte) bool {
	source := 6 + int(p[5]) // where the length of the source's connection ID is
	return p[source+1+int(p[source])] != 0
}

// limited returns an env whose listener takes few handshakes at a time.
func limited(t *testing.T, limit int) *env {
	e := newEnv(t)
	e.listen.Close()
	local := e.local
	local.MaxHandshakes = limit
	local.HandshakeTimeout = time.Minute // none of them ends by itself
	var err error
	if e.listen, err = e.listener.Listen(t.Context(), local, addr("127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestForgedFlood: first packets from forged addresses, which can never prove
// them, take at most half of the handshakes. They keep nobody out, and no
// cryptography is done for the rest.
func TestForgedFlood(t *testing.T) {
	e := limited(t, 8)
	to, err := net.ResolveUDPAddr("udp", e.listen.Addr().Host)
	if err != nil {
		t.Fatal(err)
	}
	flood := func() {
		for range 50 { // each from another port
			udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Error(err)
				return
			}
			for range 4 {
				if _, err := udp.WriteTo(initial(), to); err != nil {
					t.Error(err)
				}
			}
			udp.Close()
		}
	}
	flood()
	eventually(t, func() bool { return e.listener.Stats().Retries > 0 }, "no address had to be proven")
	if got := quic.Silent(e.listen); got != 4 {
		t.Errorf("%d forged connections take a place, want 4, half of the limit", got)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			flood()
		}
	}()
	for range 3 {
		x, y := e.connect(t)
		there := send(t, x, y)
		there.await(t, 1)
		there.finish(t)
	}
	<-done
	if s := e.listener.Stats(); s.Refused != 0 || s.Retries < 10 {
		t.Errorf("Retries, Refused = %d, %d; want many and none", s.Retries, s.Refused)
	}
	if got := quic.Silent(e.listen); got > 4 {
		t.Errorf("%d forged connections take a place, want at most 4", got)
	}
}

// TestRefusesBeforeCrypto: where as many of a host as may have proven their address
// and not said hello, the next is refused, at once and with the reason. One of
// another host is not.
func TestRefusesBeforeCrypto(t *testing.T) {
	const limit = 4
	e := limited(t, limit)
	to, err := net.ResolveUDPAddr("udp", e.listen.Addr().Host)
	if err != nil {
		t.Fatal(err)
	}
	forger := listenLoopback(t)
	for quic.Silent(e.listen) < limit/2 {
		if _, err := forger.WriteTo(initial(), to); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return quic.Silent(e.listen) > 0 }, "a first packet was not seen")
	}
	for n := quic.Silent(e.listen); n < limit*3/4; n++ {
		e.beginHalfway(t)
		eventually(t, func() bool { return quic.Silent(e.listen) == n+1 }, "%d connections take a place, want %d", quic.Silent(e.listen), n+1)
	}
	_, err = e.dialer.Dial(t.Context(), e.local, e.local.Key.ID(), e.listen.Addr())
	if !errors.Is(err, conn.CodeLimit) {
		t.Errorf("Dial = %v, want %q", err, conn.CodeLimit)
	}
	if got := e.listener.Stats().Refused; got == 0 {
		t.Error("Refused = 0, want what was turned away")
	}
	other := quic.NewWith(quic.Config{LocalAddr: "127.0.0.2:0"})
	defer other.Close()
	switch _, err = other.Dial(t.Context(), e.local, e.local.Key.ID(), e.listen.Addr()); {
	case errors.Is(err, syscall.EADDRNOTAVAIL): // not every system has it
	case err != nil:
		t.Errorf("Dial from another host = %v, want a connection", err)
	}
}

// beginHalfway begins a connection and sends half of its hello, after the proof
// of its address.
func (e *env) beginHalfway(t *testing.T) {
	tr := quic.NewWith(quic.Config{PacketConn: halfway{listenLoopback(t), new(atomic.Bool)}})
	t.Cleanup(func() { tr.Close() })
	go func() { // ends with tr
		_, _ = tr.Dial(t.Context(), conn.Local{Key: e.local.Key, HandshakeTimeout: time.Minute}, identity.NodeID{}, e.listen.Addr())
	}()
}
