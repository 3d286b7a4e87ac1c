// Package quic carries connections over QUIC (RFC 9000), with quic-go beneath.
// Addresses are quic://host:port. It is the transport for wide networks: it
// carries close reasons, datagrams and further streams, follows a node to
// another address, and one UDP socket both listens and dials, as hole punching
// needs.
//
// Each side writes to one unidirectional stream of its own, so that neither
// waits for the other to speak first. Datagrams are RFC 9221 and for what may
// be lost: they are slower than the stream. Streams (conn.StreamConn) are
// bidirectional; either side opens them, at most 8 at a time (Config.Streams). One
// that is not accepted or read holds at most 128 KiB of what its connection may have
// under way, so the others go on; one that was read fast and then is not may hold
// up to Config.Window.
//
// # Sockets
//
// A transport dials from a socket that it listens on, if there is one for the
// address, else from one that it shares between dials. A listening socket lives
// until its listener and all its connections are closed. A packet that the
// system does not take is lost, as any packet may be: when a route is gone for a
// moment, connections live on.
//
// # Changes of address
//
// When a NAT gives the dialler another port, or a socket that is bound to no
// address sends from another one, the other end notices, proves the new address
// and goes on there. [Transport.Rebind] moves all dialled connections to a new
// socket, with a proof before the move. Neither is a new handshake, and nothing
// is lost.
//
// # Floods
//
// Incoming connections pass two gates, of Local.MaxHandshakes places each: until
// they have said hello, and from then until Accept has them. At the first, where
// all places are taken, the next is refused before any cryptography; at the
// second, one of the host that has most makes room. From half of MaxHandshakes on,
// both gates together, each must prove its address by one more round trip before
// it takes a place (Retry), which forged ones cannot: so these leave the other
// half of the first gate to others, and honest diallers have no extra round trip
// in a burst of up to half. [Transport.Stats] counts what was refused, and had to
// prove itself.
//
// # Dead peers
//
// Keep-alives go every 10 s, and a connection over which nothing came for 30 s
// is closed with [conn.CodeTimeout]; see [Config].
package quic
