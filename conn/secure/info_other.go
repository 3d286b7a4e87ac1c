//go:build !linux

package secure

import (
	"syscall"

	"github.com/plexus-net/plexus/conn"
)

// tcpInfo knows nothing here.
func tcpInfo(syscall.RawConn, *conn.TransportStats) {}
