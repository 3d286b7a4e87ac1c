package secure

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Client proves identities over nc as the side that dialled. If expect is not
// zero and another node answers, the error is a [*conn.WrongNodeError]. It takes
// at most local.HandshakeTimeout. nc is Client's: on an error it is closed.
func Client(ctx context.Context, nc net.Conn, local conn.Local, expect identity.NodeID, localAddr, remoteAddr identity.Address) (conn.Conn, error) {
	config, err := Config(local.Key, expect)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c := &secured{base: base{local: localAddr, remote: remoteAddr}}
	if _, err := c.start(ctx, nc, local, config, tls.Client); err != nil {
		return nil, err
	}
	return c, nil
}

// Server is [Client] for the side that was dialled: any node may come.
func Server(ctx context.Context, nc net.Conn, local conn.Local, localAddr, remoteAddr identity.Address) (conn.Conn, error) {
	config, err := Config(local.Key, identity.NodeID{})
	if err != nil {
		nc.Close()
		return nil, err
	}
	c := &secured{base: base{local: localAddr, remote: remoteAddr}}
	if _, err := c.start(ctx, nc, local, config, tls.Server); err != nil {
		return nil, err
	}
	return c, nil
}

// A secured is a conn.Conn over TLS.
type secured struct {
	base
	wire *wire
	tls  *tls.Conn
}

// start shakes hands over nc and returns the protocol agreed on. On an error nc
// is closed.
func (c *secured) start(ctx context.Context, nc net.Conn, local conn.Local, config *tls.Config,
	side func(net.Conn, *tls.Config) *tls.Conn,
) (protocol string, err error) {
	ctx, cancel := context.WithTimeout(ctx, local.WithDefaults().HandshakeTimeout)
	defer cancel()
	c.wire = newWire(nc)
	c.tls = side(c.wire, config)
	if err := c.tls.HandshakeContext(ctx); err != nil {
		nc.Close()
		c.wire.release()
		if cause := context.Cause(ctx); cause != nil {
			err = cause // crypto/tls tells only that the connection was closed
		}
		return "", fmt.Errorf("secure: handshake: %w", err)
	}
	state := c.tls.ConnectionState()
	if c.node, err = nodeOf(state, config.NextProtos...); err != nil {
		nc.Close()
		return "", err
	}
	return state.NegotiatedProtocol, nil
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

// Close tells the other side if it can do so within 20 ms, and closes.
func (c *secured) Close(cause error) error {
	c.close.Do(func() {
		c.end(c.wire.Conn, cause)
		c.wire.hurry()
		_ = c.tls.Close() // closes the socket, whatever it says of its last record
	})
	return nil
}

// SetReadDeadline bounds reads; reading may go on after a missed one.
func (c *secured) SetReadDeadline(t time.Time) error { return c.tls.SetReadDeadline(t) }

// SetWriteDeadline bounds writes; nothing can be written after a missed one.
func (c *secured) SetWriteDeadline(t time.Time) error { return c.tls.SetWriteDeadline(t) }

// Stats asks the kernel for round-trip times, on Linux.
func (c *secured) Stats() conn.TransportStats { return c.stats(c.wire.Conn) }
