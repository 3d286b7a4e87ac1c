package udp

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestInterleave(t *testing.T) {
	ips := func(all ...string) (ips []netip.Addr) {
		for _, s := range all {
			ips = append(ips, netip.MustParseAddr(s))
		}
		return ips
	}
	for _, c := range []struct {
		name string
		in   []netip.Addr
		want string
	}{
		{"one", ips("192.0.2.1"), "[192.0.2.1:7]"},
		{"IPv6 first", ips("192.0.2.1", "2001:db8::1"), "[[2001:db8::1]:7 192.0.2.1:7]"},
		{"by turns", ips("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"),
			"[[2001:db8::1]:7 192.0.2.1:7 [2001:db8::2]:7 192.0.2.2:7 192.0.2.3:7]"},
		{"doubles", ips("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"), "[192.0.2.1:7]"},
		{"many", ips("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"),
			"[192.0.2.1:7 192.0.2.2:7 192.0.2.3:7 192.0.2.4:7 192.0.2.5:7 192.0.2.6:7]"},
	} {
		if got := fmt.Sprint(interleave(c.in, 7)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
