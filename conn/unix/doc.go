// Package unix carries connections over Unix sockets, between nodes on one
// machine, secured by TLS 1.3 (package conn/secure) as everywhere. Addresses are
// unix:///absolute/path/of/socket. To listen at a path that ends in / is to ask
// for a free name in that directory, which Addr then tells.
//
// # The socket's file
//
// Who may connect is also a matter of the file's mode, 0600 by default: the same
// user. A file that a dead listener has left behind is replaced; that of a live
// one is not, nor is anything that is no socket. Close removes the file.
//
// # Addresses of those who dial
//
// A socket that dials has no address. Its connection is given one that nobody
// can dial: that of the listener, #, and a number of this process. All are one
// host: of too many handshakes at a time, the oldest ends.
//
// # Streams
//
// They are as those of conn/tcp: a stream that nobody accepts ends, and counts as
// a handshake until then. See [Config.Streams].
package unix
