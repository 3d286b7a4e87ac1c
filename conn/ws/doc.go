// Package ws carries connections over WebSocket (RFC 6455): through HTTP
// proxies and load balancers, beside a web site on one port, and from browsers.
// Addresses are ws://host:port/path and wss://host:port/path.
//
// What proves node IDs and encrypts is package conn/secure, inside the
// WebSocket, as it is for TCP. So ws:// is as safe as tcp://. wss:// has TLS
// outside, too, with a certificate of the usual kind: browsers want it on pages
// that came over HTTPS, and what is between the two nodes then sees HTTPS.
//
//	Conn.Write ─> TLS 1.3 with node keys ─> a binary message ─> [TLS] ─> TCP
//
// Each write of the layer above becomes one WebSocket message; reading does not
// depend on where messages end.
//
// # Listening
//
// A listener has a socket of its own and answers one request on each connection:
// the upgrade at its path. Where there is an HTTP server already, set
// [Config.Mounted] and mount the [Transport] in it.
//
// # Web pages
//
// A browser tells the origin of the page that dials. Without [Config.Origins], a
// listener takes only pages of its own host, and everybody who is no browser.
// The pages of other sites have to be allowed by name: otherwise any page that
// somebody visits could reach the nodes of that person's network.
//
// # In a browser
//
// Built for GOOS=js, the package dials by the browser's WebSocket (or that of
// Node.js), and cannot listen. The browser decides about the outer TLS and does
// not say where its sockets are: LocalAddr is the zero Address. It has no way to
// hold back who sends: what a tab has not read waits in memory, and the
// connection breaks at 64 MiB. The windows of services keep that away.
//
// # What it does not do
//
// Close reasons do not cross: the close frame of WebSocket stands outside of the
// encryption, where anybody could write one. There are no datagrams and no
// round-trip times. Nothing is sent on an idle connection but TCP keep-alives; a
// proxy may end it after its idle time. Messages are not compressed.
package ws
