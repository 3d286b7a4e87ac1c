// Package kcp carries connections over KCP, a reliable protocol on UDP that
// repeats early what seems lost, with kcp-go beneath. Addresses are
// kcp://host:port. On a line that loses packets it can be quicker than TCP and
// QUIC, at the price of more packets; on a good line both are several times
// faster. It has neither datagrams nor streams, and does not follow a node to
// another address.
//
// # What protects it
//
// TLS 1.3 on top (package conn/secure), as everywhere; kcp-go's own encryption
// with shared keys is not used. The packets themselves are not protected: nobody
// else can read or alter what a connection carries, but whoever sees its packets,
// or guesses the 32 bits of its conversation, and can send in the name of a
// peer's address, can break it.
//
// # Openings
//
// Before the first packet of KCP, the end that dials asks for a cookie, and opens
// its conversation with it:
//
//	ask, 28 bytes  ────────>
//	               <────────  cookie, 28 bytes
//	open, 28 bytes ────────>  the session begins
//	KCP            ────────>
//
// A cookie is a MAC over the address and port that the ask came from, the
// conversation and a coarse time, under a key that the listening socket has made
// for itself; it is good for 15 to 30 s. So a dial takes one round trip more, and
// an address that has not proven that it receives costs the listener no memory,
// and is sent nothing but an answer of the size of what it asked. Packets of KCP
// that belong to no conversation that was opened are dropped.
//
// A session whose handshake fails, takes too long, or makes room for another ends
// at once, so that there are no more of them than Local.MaxHandshakes, and 64 that
// have just opened.
//
// # Under the TLS
//
// KCP has no end and no sign of life, so plexus puts the bytes of the TLS
// session into chunks: a length of two bytes, big-endian, and up to 16384 bytes.
// Length 0 says that the sender is alive, and goes after 15 s without anything
// else; 65535 says that no more comes. A connection over which nothing has come
// for three times as long is dead, and broken. Close tells the other end, and
// goes on in the background for at most a second to have what was written
// arrive.
//
// # Goroutines
//
// A connection has three goroutines of its own, and one more at the end that
// dialled, two until the first answer; kcp-go looks after each every 10 ms. That is a lot for connections
// that are mostly idle. kcp-go also starts one goroutine for each processor and
// another when the program starts (kcp.SystemTimedSched); they live as long as
// the program.
package kcp
