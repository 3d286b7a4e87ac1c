//go:build unix && !solaris

package tcp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// canReusePort says that setReusePort works.
const canReusePort = true

func setReusePort(c syscall.RawConn) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); controlErr != nil {
		return controlErr
	}
	return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
}

// setBacklog listens once more: the system then takes the new backlog.
func setBacklog(l net.Listener, n int) error {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("Config.Backlog: %w by a %T", errors.ErrUnsupported, l)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	if controlErr := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), n) }); controlErr != nil {
		return controlErr
	}
	return os.NewSyscallError("listen", err)
}
