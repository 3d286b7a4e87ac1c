// Package webtransport carries connections over WebTransport: QUIC as browsers
// have it, through HTTP/3, with webtransport-go and quic-go beneath. Addresses
// are wt://host:port/path?cert=HASH. Between two nodes that are no browsers, QUIC
// itself (conn/quic) does the same with less.
//
// # Who proves what
//
// A browser cannot show a node's key in the handshake of QUIC, nor ask for one.
// So there are two layers of TLS 1.3, and everything is encrypted twice:
//
//	Conn.Write ─> conn/secure: TLS with node keys ─> a stream of the session ─> QUIC: TLS with the outer certificate
//
// The inner layer proves both node IDs, and is all that the bytes of a Conn rely
// on. The outer certificate says nothing about nodes: a dialling node takes any.
// Within the inner layer, a dialling node then shows that both ends have one QUIC
// connection between them and nobody in the middle (RFC 8446, 7.5). From there on
// the outer layer is as good as the inner one, and carries datagrams, further
// streams and close reasons. A browser cannot show that: its connections have
// none of the three, at both ends.
//
// # The outer certificate
//
// Browsers take a certificate without an authority if they are told its SHA-256
// and it is valid for no more than 14 days. A listener makes such certificates
// from the node's key, a new one every 12 days, and tells the hashes of the
// present and the next in its address, as the parameter cert, in base64url:
//
//	wt://198.51.100.7:4100/plexus?cert=tKbD…&cert=9YxQ…
//
// They are the same after a restart. An address is good for 12 to 24 days; get
// it anew from the listener to spread it. With [Config.TLS] and a certificate
// that browsers trust anyway, addresses have no hash and stay good.
//
// # Web pages
//
// A browser tells the origin of the page that dials. Without [Config.Origins], a
// listener takes only pages of its own host and port, and everybody who is no
// browser. The pages of other sites have to be allowed by name.
//
// # In a browser
//
// Built for GOOS=js, the package dials by the browser's WebTransport, with the
// hashes of the address, and cannot listen. The browser does not say where its
// sockets are: LocalAddr is the zero Address. Reading and writing are held back
// as everywhere.
//
// # Sockets and dead peers
//
// A listening socket lives until its listener and all its connections are closed;
// dials share one socket. Keep-alives go every 10 s, and a connection over which
// nothing came for 30 s is closed with [conn.CodeTimeout]. A node takes one
// session on a QUIC connection, and 32 further streams at a time from its peer.
//
// # Beside a flood
//
// The connections that have said hello and whose handshake is not finished are at
// most conn.Local.MaxHandshakes; one more ends the oldest of the host that has most
// of them. While half as many are under way, who comes must prove its address
// first, by one more round trip, so that forged addresses take no place.
package webtransport
