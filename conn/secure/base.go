package secure

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A base is what all connections of this package have in common.
type base struct {
	node           identity.NodeID
	local, remote  identity.Address
	sent, received atomic.Uint64

	close sync.Once
	cause atomic.Pointer[error]               // set by Close
	final atomic.Pointer[conn.TransportStats] // set by Close, without the bytes
}

// why returns the cause of Close instead of err, if it was closed.
func (b *base) why(err error) error {
	if cause := b.cause.Load(); cause != nil {
		return *cause
	}
	return err
}

// end keeps cause, and what the socket under nc knows before it is gone.
func (b *base) end(nc net.Conn, cause error) {
	if cause == nil {
		cause = conn.ErrClosed
	}
	b.cause.Store(&cause)
	var s conn.TransportStats
	measure(nc, &s)
	b.final.Store(&s)
}

// Node returns the ID that the other end has proven.
func (b *base) Node() identity.NodeID { return b.node }

// LocalAddr returns the address of this end.
func (b *base) LocalAddr() identity.Address { return b.local }

// RemoteAddr returns the address of the other end.
func (b *base) RemoteAddr() identity.Address { return b.remote }

// Features tells that loss is repaired.
func (b *base) Features() conn.Features { return conn.Features{Reliable: true} }

func (b *base) stats(nc net.Conn) conn.TransportStats {
	var s conn.TransportStats
	if final := b.final.Load(); final != nil {
		s = *final
	} else {
		measure(nc, &s)
	}
	s.BytesSent, s.BytesReceived = b.sent.Load(), b.received.Load()
	return s
}

// measure asks the kernel for round-trip times, on Linux.
func measure(nc net.Conn, s *conn.TransportStats) {
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			tcpInfo(raw, s)
		}
	}
}
