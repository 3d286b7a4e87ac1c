package secure

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Client proves identities over nc as the side that dialled. If expect is not
// zero and another node answers, the error is a [*conn.WrongNodeError]. It takes
// at most local.HandshakeTimeout. nc is Client's: on an error it is closed.
func Client(ctx context.Context, nc net.Conn, local conn.Local, expect identity.NodeID, localAddr, remoteAddr identity.Address) (conn.Conn, error) {
	return start(ctx, nc, local, expect, localAddr, remoteAddr, tls.Client)
}

// Server is [Client] for the side that was dialled: any node may come.
func Server(ctx context.Context, nc net.Conn, local conn.Local, localAddr, remoteAddr identity.Address) (conn.Conn, error) {
	return start(ctx, nc, local, identity.NodeID{}, localAddr, remoteAddr, tls.Server)
}

func start(ctx context.Context, nc net.Conn, local conn.Local, expect identity.NodeID, localAddr, remoteAddr identity.Address,
	side func(net.Conn, *tls.Config) *tls.Conn,
) (*secured, error) {
	config, err := Config(local.Key, expect)
	if err != nil {
		nc.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, local.WithDefaults().HandshakeTimeout)
	defer cancel()
	w := newWire(nc)
	c := &secured{wire: w, tls: side(w, config), local: localAddr, remote: remoteAddr}
	if err := c.tls.HandshakeContext(ctx); err != nil {
		nc.Close()
		w.release()
		if cause := context.Cause(ctx); cause != nil {
			err = cause // crypto/tls tells only that the connection was closed
		}
		return nil, fmt.Errorf("secure: handshake: %w", err)
	}
	if c.node, err = NodeOf(c.tls.ConnectionState()); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// A secured is a conn.Conn over TLS.
type secured struct {
	wire           *wire
	tls            *tls.Conn
	node           identity.NodeID
	local, remote  identity.Address
	sent, received atomic.Uint64

	close sync.Once
	cause atomic.Pointer[error]               // set by Close
	final atomic.Pointer[conn.TransportStats] // set by Close, without the bytes
}

// Read returns io.EOF after the other side has closed in order.
func (c *secured) Read(p []byte) (int, error) {
	n, err := c.tls.Read(p)
	c.received.Add(uint64(n))
	if err != nil {
		return n, c.why(err)
	}
	return n, nil
}

// Write sends p in records of 16 KiB, several of them in one system call.
func (c *secured) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, c.why(nil)
	}
	n, err := c.write(p)
	c.sent.Add(uint64(n))
	if err != nil {
		return n, c.why(err)
	}
	return n, nil
}

func (c *secured) write(p []byte) (int, error) {
	if len(p) <= recordSize {
		return c.tls.Write(p)
	}
	c.wire.join()
	n, err := c.tls.Write(p)
	if flushErr := c.wire.flush(); flushErr != nil {
		return 0, flushErr // some of it was sent: nobody can tell how much arrived
	}
	return n, err
}

// why returns the cause of Close instead of err, if it was closed.
func (c *secured) why(err error) error {
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	return err
}

// Close tells the other side if it can do so within 20 ms, and closes.
func (c *secured) Close(cause error) error {
	if cause == nil {
		cause = conn.ErrClosed
	}
	c.close.Do(func() {
		c.cause.Store(&cause)
		var s conn.TransportStats
		c.measure(&s)
		c.final.Store(&s)
		c.wire.hurry()
		_ = c.tls.Close() // closes the socket, whatever it says of its last record
	})
	return nil
}

// Node returns the ID that the other end has proven.
func (c *secured) Node() identity.NodeID { return c.node }

// LocalAddr returns the address of this end.
func (c *secured) LocalAddr() identity.Address { return c.local }

// RemoteAddr returns the address of the other end.
func (c *secured) RemoteAddr() identity.Address { return c.remote }

// SetReadDeadline bounds reads; reading may go on after a missed one.
func (c *secured) SetReadDeadline(t time.Time) error { return c.tls.SetReadDeadline(t) }

// SetWriteDeadline bounds writes; nothing can be written after a missed one.
func (c *secured) SetWriteDeadline(t time.Time) error { return c.tls.SetWriteDeadline(t) }

// Stats asks the kernel for round-trip times, on Linux.
func (c *secured) Stats() conn.TransportStats {
	var s conn.TransportStats
	if final := c.final.Load(); final != nil {
		s = *final
	} else {
		c.measure(&s)
	}
	s.BytesSent, s.BytesReceived = c.sent.Load(), c.received.Load()
	return s
}

func (c *secured) measure(s *conn.TransportStats) {
	if sc, ok := c.wire.Conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			tcpInfo(raw, s)
		}
	}
}

// Features tells that loss is repaired.
func (c *secured) Features() conn.Features { return conn.Features{Reliable: true} }
