//go:build !linux

package quic

import "net"

// wrap returns udp: UDP_GRO is of Linux.
func wrap(udp *net.UDPConn) net.PacketConn { return udp }
