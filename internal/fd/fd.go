// Package fd reads sockets by their file descriptors: what there is now, into a
// buffer that is chosen only when there is something. Use it in the callback of
// syscall.RawConn.Read.
package fd
