package quic

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/udp"
	"github.com/plexus-net/plexus/internal/udp/udptest"
)

// TestAddressesOfAName: a dial reaches the address of a name that answers,
// whichever it is, and tries that first the next time. How they race is tested in
// internal/race.
func TestAddressesOfAName(t *testing.T) {
	udptest.Names(t, [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2})
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	local := conn.Local{Key: key, HandshakeTimeout: 5 * time.Second}
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		tr := New()
		defer tr.Close()
		listener := New()
		defer listener.Close()
		l, err := listener.Listen(t.Context(), local, identity.Address{Scheme: "quic", Host: host + ":0"})
		if err != nil {
			t.Skipf("no %s here: %v", host, err)
		}
		_, port, _ := strings.Cut(l.Addr().Host, ":")
		name := "both.test:" + port
		x, err := tr.Dial(t.Context(), local, key.ID(), identity.Address{Scheme: "quic", Host: name})
		if err != nil {
			t.Errorf("of both addresses, %s listens: %v", host, err)
			continue
		}
		if got := x.RemoteAddr().Host; got != l.Addr().Host {
			t.Errorf("connected to %s, want %s", got, l.Addr().Host)
		}
		targets, err := udp.Resolve(t.Context(), name)
		if err != nil || len(targets) != 2 {
			t.Fatalf("the name stands for %v, %v; want two addresses", targets, err)
		}
		if got := tr.won.Order(name, targets, func(netip.AddrPort) int { return 0 })[0].String(); got != l.Addr().Host {
			t.Errorf("next time %s is tried first, want %s", got, l.Addr().Host)
		}
		x.Close(nil)
	}
}

// TestGivesUpWhereNoRouteLeads: the system tells at once what a silent peer does
// not.
func TestGivesUpWhereNoRouteLeads(t *testing.T) {
	silent := listenNothing(t)
	tr := New()
	defer tr.Close()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := tr.Dial(t.Context(), conn.Local{Key: key, HandshakeTimeout: time.Hour}, identity.NodeID{}, silent)
		done <- err
	}()
	noRoute := errors.New("no route")
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if !errors.Is(err, noRoute) || !errors.Is(err, conn.CodeUnreachable) {
				t.Errorf("Dial = %v, want the error of the write", err)
			}
			return
		case <-tick.C:
			failWrites(tr, noRoute)
		}
	}
}
