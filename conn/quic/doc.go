// Package quic carries connections over QUIC (RFC 9000), with quic-go beneath.
// Addresses are quic://host:port. It is the transport for wide networks: it
// carries close reasons and datagrams, follows a node to another address, and
// one UDP socket both listens and dials, as hole punching needs.
//
// Each side writes to one unidirectional stream of its own, so that neither
// waits for the other to speak first. Datagrams are RFC 9221 and for what may
// be lost: they are slower than the stream.
//
// # Sockets
//
// A transport dials from a socket that it listens on, if there is one for the
// address, else from one that it shares between dials. A listening socket lives
// until its listener and all its connections are closed.
//
// # Dead peers
//
// Keep-alives go every 10 s, and a connection over which nothing came for 30 s
// is closed with [conn.CodeTimeout].
package quic
