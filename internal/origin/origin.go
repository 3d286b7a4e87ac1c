// Package origin tells where connections come from, as far as that counts for
// limits.
package origin

import (
	"net"
	"net/netip"
)

// What counts as one host: nobody gets a smaller part of IPv6 than a /64.
const (
	bits4 = 32
	bits6 = 64
)

// IP returns the IP address of a: that of IPv4 where it is mapped into IPv6, and
// without a zone. It is invalid if a has none, or is nil.
func IP(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case nil, *net.UnixAddr:
		return netip.Addr{}
	case interface{ AddrPort() netip.AddrPort }: // TCP and UDP
		return clean(a.AddrPort().Addr())
	}
	return Parse(a.String())
}

// Parse is IP for the text of an address with a port.
func Parse(s string) netip.Addr {
	at, _ := netip.ParseAddrPort(s) // invalid, if it is none
	return clean(at.Addr())
}

func clean(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

// Host returns the host that an address belongs to: itself, of IPv4, and a /64 of
// IPv6. All that is no address is the zero host.
func Host(ip netip.Addr) netip.Prefix {
	bits := bits6
	if ip.Is4() {
		bits = bits4
	}
	prefix, _ := ip.Prefix(bits) // fails for no address only
	return prefix
}
