//go:build !js

package webtransport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// named makes the dials of a lab go to the addresses of one name.
func (l *lab) named(targets ...netip.AddrPort) identity.Address {
	l.dialer.resolve = func(context.Context, string) ([]netip.AddrPort, error) { return slices.Clone(targets), nil }
	return identity.Address{Scheme: scheme, Host: "a.name:1", Path: "/node"}
}

// mute returns the address of a socket that takes packets and says nothing.
func mute(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Of the addresses of a name, those that say nothing do not hold up the one that
// answers, and the next dial begins with it.
func TestAddressesOfANameRace(t *testing.T) {
	l := newLab(t, Config{})
	good := netip.MustParseAddrPort(l.listen.Addr().Host)
	targets := []netip.AddrPort{mute(t), mute(t), good}
	at := l.named(targets...)
	l.local.HandshakeTimeout = time.Minute // much more than the lab has, and so is a third of it
	c, err := l.dialer.Dial(l.ctx, l.local, l.remote.Key.ID(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(nil)
	if got := c.RemoteAddr().Host; got != good.String() {
		t.Errorf("the connection is to %s, want %s", got, good)
	}
	if order := l.dialer.lost.Order(at.Host, targets, nil); order[0] != good {
		t.Errorf("the next dial begins with %v, want %v", order[0], good)
	}
}

// If none of the addresses is the peer's, the error tells of the wrong node
// although another address says nothing.
func TestWrongNodeAtOneOfTheAddresses(t *testing.T) {
	l := newLab(t, Config{})
	l.local.HandshakeTimeout = 500 * time.Millisecond
	silent := mute(t)
	at := l.named(netip.MustParseAddrPort(l.listen.Addr().Host), silent)
	_, err := l.dialer.Dial(l.ctx, l.local, newKey(t).ID(), at)
	var wrong *conn.WrongNodeError
	if !errors.As(err, &wrong) || wrong.Got != l.remote.Key.ID() {
		t.Errorf("Dial = %v, want a *WrongNodeError of the listener", err)
	}
	if err == nil || !strings.Contains(err.Error(), silent.String()) {
		t.Errorf("Dial = %v, want that it also tells of %s, which does not answer", err, silent)
	}
}

// A watched socket of a client notes that its address had to be proven.
type watched struct {
	net.PacketConn
	retried atomic.Bool
}

func (w *watched) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := w.PacketConn.ReadFrom(p)
	if n > 0 && p[0]&0xf0 == 0xf0 { // a Retry (RFC 9000, 17.2.5)
		w.retried.Store(true)
	}
	return n, from, err
}

// While half of the handshakes that may be at a time are under way, and not
// before, those who come have to prove their addresses.
func TestAddressesAreProvenUnderLoad(t *testing.T) {
	const most = 8
	l := newLab(t, Config{})
	l.listen.Close()
	l.remote.MaxHandshakes = most
	tr := New()
	t.Cleanup(func() { tr.Close() })
	cl, err := tr.Listen(l.ctx, l.remote, identity.Address{Scheme: scheme, Host: "127.0.0.1:0", Path: "/node"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range most {
		if got, want := l.stall(t, cl), i >= most/2; got != want {
			t.Errorf("with %d of %d handshakes under way, that an address had to be proven is %t, want %t", i, most, got, want)
		}
		eventually(t, func() bool { return cl.(*listener).Pending() == i+1 }, "the handshake is not counted")
	}
}

// stall shakes hands for QUIC, asks for nothing, and reports whether the address
// had to be proven first.
func (l *lab) stall(t *testing.T, to conn.Listener) bool {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{PacketConn: pc}
	client := &quic.Transport{Conn: w}
	t.Cleanup(func() { client.Close(); pc.Close() })
	target := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to.Addr().Host))
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{http3.NextProtoH3}}
	if _, err := client.Dial(l.ctx, target, config, quicConfig(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	return w.retried.Load()
}

// eventually waits for what another goroutine does, and gives up after 10 s.
func eventually(t *testing.T, is func() bool, otherwise string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		if is() {
			return
		}
		<-tick.C
	}
	t.Fatal(otherwise)
}
