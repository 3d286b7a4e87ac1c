// Package fd reads and writes sockets by their file descriptors, without ever
// waiting: what there is now, into a buffer that is chosen only when there is
// something, and as much as there is room for. Use it in the callbacks of a
// syscall.RawConn.
package fd
