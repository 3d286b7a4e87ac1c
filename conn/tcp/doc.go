// Package tcp carries connections over TCP, secured by TLS 1.3 (package
// conn/secure). Addresses are tcp://host:port. Inside a data centre it moves
// several times as much as QUIC; it has no datagrams and does not follow a node
// to another address.
package tcp
