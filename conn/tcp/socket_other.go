//go:build !unix || solaris

package tcp

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// canReusePort says that setReusePort works.
const canReusePort = false

func setReusePort(syscall.RawConn) error { return errors.ErrUnsupported }

func setBacklog(net.Listener, int) error {
	return fmt.Errorf("Config.Backlog: %w on this system", errors.ErrUnsupported)
}
