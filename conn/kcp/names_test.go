package kcp_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/kcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/udp/udptest"
)

// TestAddressesOfAName: a dial reaches the address of a name that answers,
// whichever it is: UDP does not tell that nobody is at the other.
func TestAddressesOfAName(t *testing.T) {
	udptest.Names(t, [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2})
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	local := conn.Local{Key: key, HandshakeTimeout: 5 * time.Second}
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		tr := kcp.New()
		defer tr.Close()
		l, err := tr.Listen(t.Context(), local, addr(host+":0"))
		if err != nil {
			t.Skipf("no %s here: %v", host, err)
		}
		_, port, _ := strings.Cut(l.Addr().Host, ":")
		x, err := tr.Dial(t.Context(), local, key.ID(), addr("both.test:"+port))
		if err != nil {
			t.Errorf("of both addresses, %s listens: %v", host, err)
			continue
		}
		if got := x.RemoteAddr().Host; got != l.Addr().Host {
			t.Errorf("connected to %s, want %s", got, l.Addr().Host)
		}
		x.Close(nil)
	}
}

// TestOpeningIsRepeated: the first of each kind of opening gets lost, and a dial
// succeeds.
func TestOpeningIsRepeated(t *testing.T) {
	l, tr, local := listening(t, 0)
	way := newLine(t, l.Addr(), 0)
	way.loseFirst("ask", "cookie", "open")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	x, err := tr.Dial(ctx, local, local.Key.ID(), way.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(nil)
	if got := way.lost.Load(); got != 3 {
		t.Errorf("%d packets were lost, want 3", got)
	}
}
