// Package udp goes between the host:port of a node's address and the addresses
// of UDP sockets.
package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Lookup returns the IP addresses that the host of host:port stands for, one at
// least and in the order of the resolver, and the port. IPv4 ones may be
// IPv4-mapped. No host is this machine.
func Lookup(ctx context.Context, hostPort string) ([]netip.Addr, uint16, error) {
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, 0, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, 0, err
	}
	if host == "" { // this machine, as for TCP
		host = "127.0.0.1"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, 0, err
	}
	if len(ips) == 0 {
		return nil, 0, fmt.Errorf("%s has no address", host)
	}
	return ips, uint16(port), nil
}

// maxTries is how many addresses of one host a dial tries.
const maxTries = 6

// Resolve returns the socket addresses that host:port stands for, in the order to
// try them: by turns of their families, IPv6 first (RFC 8305, 4), without doubles,
// IPv4 ones as such, and at most six.
func Resolve(ctx context.Context, hostPort string) ([]netip.AddrPort, error) {
	ips, port, err := Lookup(ctx, hostPort)
	if err != nil {
		return nil, err
	}
	return interleave(ips, port), nil
}

func interleave(ips []netip.Addr, port uint16) []netip.AddrPort {
	var families [2][]netip.AddrPort // IPv6, IPv4
	for _, ip := range ips {
		ip = ip.Unmap()
		family := &families[0]
		if ip.Is4() {
			family = &families[1]
		}
		if at := netip.AddrPortFrom(ip, port); !slices.Contains(*family, at) {
			*family = append(*family, at)
		}
	}
	var all []netip.AddrPort
	for i := range max(len(families[0]), len(families[1])) {
		for _, family := range families {
			if i < len(family) && len(all) < maxTries {
				all = append(all, family[i])
			}
		}
	}
	return all
}

// HostPort returns the text of a socket's address, IPv4 ones as such. Of an
// address that is not of package net's UDP, it is its own text.
func HostPort(a net.Addr) string {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
	}
	return a.String()
}
