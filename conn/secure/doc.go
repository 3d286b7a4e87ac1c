// Package secure proves node IDs and encrypts: it is the one security layer of
// all transports. It speaks TLS 1.3 with certificates at both ends. A node's
// certificate is self-signed with its ed25519 key, and the node ID is the
// public key of the certificate; there is no authority and nothing expires.
//
// A transport over byte streams (TCP, WebSocket) hands each net.Conn to
// [Client] or [Server], and gets a [conn.Conn]; [Handshakes] runs the incoming
// ones beside each other, within bounds. A transport that has TLS inside
// (QUIC, WebTransport) takes [Config] and [NodeOf].
//
// # How it is fast and small
//
//	Conn.Write ─> crypto/tls, 16 KiB records ─> wire: joins the records of a Write ─> socket
//	Conn.Read  <─ crypto/tls <── wire: takes what is there, up to 64 KiB ──────────── socket
//
// The buffers of wire are pooled and held only while they hold bytes: an idle
// connection has none.
//
// # What it does not do
//
// Close reasons do not cross: the other side reads io.EOF. After a missed
// write deadline, nothing can be written any more, since a record may have been
// sent in part. A peer that hangs up during Dial may be noticed only by the
// first Read: in TLS 1.3 the client is done first.
package secure
