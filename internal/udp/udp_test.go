package udp_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/internal/udp"
)

func TestLookup(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"192.0.2.1:7", "192.0.2.1"},
		{"[2001:db8::1]:7", "2001:db8::1"},
		{":7", "127.0.0.1"},
	} {
		ips, port, err := udp.Lookup(t.Context(), c.in)
		if err != nil || len(ips) != 1 || ips[0].Unmap() != netip.MustParseAddr(c.want) || port != 7 {
			t.Errorf("%s: %v, port %d, %v; want %s", c.in, ips, port, err, c.want)
		}
	}
	for in, want := range map[string]string{"h": "missing port", "192.0.2.1:65536": "out of range", "192.0.2.1:http": "invalid syntax"} {
		if _, _, err := udp.Lookup(t.Context(), in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", in, err, want)
		}
	}
}

func TestHostPort(t *testing.T) {
	for want, a := range map[string]net.Addr{
		"192.0.2.1:7":       net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[::ffff:192.0.2.1]:7")),
		"[2001:db8::1]:7":   net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:7")),
		"/a/socket of mine": &net.UnixAddr{Name: "/a/socket of mine"},
	} {
		if got := udp.HostPort(a); got != want {
			t.Errorf("%v: %s, want %s", a, got, want)
		}
	}
}
