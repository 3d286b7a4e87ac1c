package raw

import "net"

// isSelf reports whether an address is that of this node's listener, as far as it
// shows.
func (n *Node) isSelf(network, addr string) bool {
	own := n.ListeningAddr()
	if own == nil {
		return false
	}
	if own.Network() == "unix" || network == "unix" {
		return own.Network() == network && own.String() == addr
	}
	ownIP, ownPort := splitAddr(own.String())
	ip, port := splitAddr(addr)
	if ip == nil || port != ownPort {
		return false
	}
	return ip.Equal(ownIP) || everyIP(ownIP, ip) && (ip.IsLoopback() || ip.IsUnspecified())
}

// isOwn reports whether a connection that was dialled leads back to this node: to
// its listener, or from a socket to itself, which TCP can do while nobody listens.
func (n *Node) isOwn(local, remote net.Addr) bool {
	if n.isSelf(remote.Network(), remote.String()) {
		return true
	}
	from, ok := local.(*net.TCPAddr)
	to, too := remote.(*net.TCPAddr)
	if !ok || !too || !from.IP.Equal(to.IP) || from.Zone != to.Zone {
		return false
	}
	if from.Port == to.Port {
		return true
	}
	// Whoever dials an address of this machine dials from that address.
	own, ok := n.ListeningAddr().(*net.TCPAddr)
	return ok && own.Port == to.Port && everyIP(own.IP, to.IP)
}

// everyIP reports whether who listens at an IP listens at all those of the kind
// of another: IPv4 only at 0.0.0.0, both at [::].
func everyIP(own, ip net.IP) bool {
	return own.IsUnspecified() && (own.To4() == nil || ip.To4() != nil)
}

// splitAddr returns the parts of an address, a nil IP if it has none. No host is
// this one.
func splitAddr(addr string) (ip net.IP, port string) {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return nil, ""
	case host == "" || host == "localhost":
		return net.IPv4(127, 0, 0, 1), port
	}
	return net.ParseIP(host), port
}
