// Package quicgo has what the transports over quic-go need alike: an [Outbox] for
// datagrams, which does not let senders wait, [Greetings], which bound the
// connections that have not even said hello, and close reasons of bounded length.
package quicgo
