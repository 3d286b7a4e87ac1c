//go:build !unix || solaris || illumos

package raw

import (
	"errors"
	"net"
	"syscall"
)

// canReusePort says that reusePort works.
const canReusePort = false

func reusePort(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }

// setBacklog leaves the system's.
func setBacklog(net.Listener, int) error { return nil }
