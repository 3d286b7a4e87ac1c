// Package secure proves node IDs and encrypts: it is the one security layer of
// all transports. It speaks TLS 1.3 with certificates at both ends. A node's
// certificate is self-signed with its ed25519 key, and the node ID is the
// public key of the certificate; there is no authority and nothing expires.
//
// A transport over byte streams (TCP, Unix sockets, KCP) is a [Network]: a way to
// dial and a way to listen, of which [NewTransport] makes all of a
// [conn.Transport]. One that needs more of its own (WebSocket) hands each
// net.Conn to [Client] or [Server], and gets a [conn.Conn]; [Handshakes] runs the
// incoming ones beside each other, within bounds, and [Dials] ends the outgoing
// ones when the transport closes. A transport that has TLS inside (QUIC,
// WebTransport) takes [Config] and [NodeOf].
//
// # How it is fast and small
//
//	Conn.Write ─> crypto/tls, 16 KiB records ─> wire: joins the records of a Write ─> socket
//	Conn.Read  <─ crypto/tls <── wire: takes what is there, up to 64 KiB ──────────── socket
//
// The buffers of wire are pooled and held only while they hold bytes: an idle
// connection has none.
//
// # Streams
//
// A connection of a [Network] with Streams is a [conn.StreamConn] whose dialling
// side opens streams. Each is a socket of its own with a TLS session of its own,
// under the protocol [StreamALPN], and begins with a token of 32 bytes: keying
// material that both ends export from the session of the connection. The other
// end answers with one byte. So a stream is of the same two nodes as its
// connection, and of no other connection of theirs, and no byte of the connection
// itself is touched. Until AcceptStream takes it, a stream is a handshake like
// others, bounded with them in number and time.
//
// # Without TLS
//
// [PlainClient] and [PlainServer] prove both IDs by signatures and leave the rest
// to a network that is trusted.
//
// # What it does not do
//
// Close reasons do not cross: the other side reads io.EOF, or, if the connection
// broke instead, an error that is io.ErrUnexpectedEOF or the network's. After a missed
// write deadline, nothing can be written any more, since a record may have been
// sent in part. A peer that hangs up during Dial may be noticed only by the
// first Read: in TLS 1.3 the client is done first.
package secure
