//go:build unix && !solaris && !illumos

package raw

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// canReusePort says that reusePort works.
const canReusePort = true

// reusePort is called with the socket before it is bound.
func reusePort(_, _ string, raw syscall.RawConn) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// setBacklog tells the system anew how many connections to hold: package net has
// told it the most there is.
func setBacklog(l net.Listener, n int) error {
	s, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("raw: a %T has no backlog to set", l)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), n) }); e != nil {
		return e
	}
	return err
}
