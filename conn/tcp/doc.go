// Package tcp carries connections over TCP, secured by TLS 1.3 (package
// conn/secure). Addresses are tcp://host:port. Inside a data centre it moves
// several times as much as QUIC; it has no datagrams and does not follow a node
// to another address.
//
// # Streams
//
// The side that dialled opens streams for bulk ([conn.StreamConn]): each is a
// TCP connection of its own to the same address, with a handshake of its own,
// and shows by a value that both ends derive from the TLS session of its
// connection where it belongs. Streams need the listener: when that is closed,
// no more open. Where several processes share a port, or stand behind a balancer,
// a stream may reach another one than its connection did, and is then refused.
//
// A stream that nobody takes with AcceptStream costs its listener what a stalled
// handshake costs, is bounded with those in number and time, and then ends: see
// [Config.Streams], which also turns streams off.
//
// # Beside a flood
//
// The connections whose handshake is not finished are at most
// conn.Local.MaxHandshakes. One more ends the oldest of the host that has most of
// them, a host being an IPv4 address or a /64 of IPv6: one host alone keeps
// nobody out.
//
// # Without encryption
//
// [NewPlain] makes a transport for networks whose every machine is trusted, with
// addresses of its own: tcp+plain://host:port. Both ends still prove their IDs
// when a connection opens; after that bytes go as they are, unprotected.
//
// # Behind a balancer, beside another process
//
// [Config.Proxies] takes the address of a peer from the PROXY protocol header of
// a balancer. [Config.ReusePort] lets several listeners share a port; for a
// restart that refuses nobody, hand the listening socket itself on, with
// [Config.Listen].
package tcp
