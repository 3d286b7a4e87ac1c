package origin_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/plexus-net/plexus/internal/origin"
)

type text string

func (text) Network() string  { return "test" }
func (t text) String() string { return string(t) }

func TestHost(t *testing.T) {
	for _, tt := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, "192.0.2.1/32"},
		{&net.UDPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 2}, "192.0.2.1/32"},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8:1:2:3:4:5:6"), Port: 3}, "2001:db8:1:2::/64"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 4}, "fe80::/64"},
		{&net.UDPAddr{IP: net.ParseIP("192.0.2.7"), Port: 4}, "192.0.2.7/32"}, // 16 bytes of it
		{&net.TCPAddr{}, "invalid Prefix"},
		{text("192.0.2.7:80"), "192.0.2.7/32"},
		{text("[2001:db8::1]:80"), "2001:db8::/64"},
		{text("a pipe"), "invalid Prefix"},
		{&net.UnixAddr{Name: "/tmp/x", Net: "unix"}, "invalid Prefix"},
		{nil, "invalid Prefix"},
	} {
		if got := origin.Host(origin.IP(tt.addr)).String(); got != tt.want {
			t.Errorf("host of %v is %s, want %s", tt.addr, got, tt.want)
		}
	}
	if ip := origin.Parse("x"); ip != (netip.Addr{}) {
		t.Errorf("Parse of no address = %v", ip)
	}
}
