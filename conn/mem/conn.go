package mem

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A connection is one end of a connection. It implements [conn.DatagramConn]; causes
// of Close reach the other end after the bytes written before.
type connection struct {
	network       *Network
	pair          pair
	line          *line
	side          int // of line.ends
	node          identity.NodeID
	local, remote identity.Address

	in, out         *pipe
	datagrams       chan []byte // that have arrived here
	readBy, writeBy deadline
	sent, received  atomic.Uint64
	dgSent, dgRecv  atomic.Uint64

	mu    sync.Mutex    // guards err and hard
	err   error         // why it ended
	hard  bool          // what has arrived but was not read is lost
	ended chan struct{} // closed once err is set
}

var _ conn.DatagramConn = (*connection)(nil)

// newLine makes the two ends of a connection: of the dialler and the listener.
func newLine(n *Network, p pair, nodes [2]identity.NodeID, addrs [2]identity.Address) [2]*connection {
	ln := &line{}
	pipes := [2]*pipe{newPipe(n.buffer), newPipe(n.buffer)}
	for side := range ln.ends {
		other := 1 - side
		ln.ends[side] = &connection{
			network: n, pair: p, line: ln, side: side,
			node: nodes[other], local: addrs[side], remote: addrs[other],
			in: pipes[other], out: pipes[side],
			datagrams: make(chan []byte, maxDatagrams), ended: make(chan struct{}),
		}
	}
	return ln.ends
}

// end ends this end. hard: unread bytes are lost. It reports whether it was
// the first.
func (c *connection) end(err error, hard bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		if hard && !c.hard {
			c.err, c.hard = err, true
			return true
		}
		return false
	}
	c.err, c.hard = err, hard
	close(c.ended)
	return true
}

// state returns why the connection ended, if it did.
func (c *connection) state() (err error, hard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err, c.hard
}

// Read reads what has arrived. After the other end has closed, it first
// returns what was written before.
func (c *connection) Read(b []byte) (int, error) {
	for {
		changed, timeout := c.readBy.wait()
		err, hard := c.state()
		if hard {
			return 0, err
		}
		if timeout != nil {
			return 0, fmt.Errorf("mem: read: %w", timeout)
		}
		if len(b) == 0 {
			return 0, err
		}
		if n := c.in.take(b); n > 0 {
			c.received.Add(uint64(n))
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-c.in.readable:
		case <-changed:
		case <-c.ended:
		}
	}
}

// Write waits while the buffer of 256 KiB is full. After a missed deadline,
// what was not written may be written again.
func (c *connection) Write(b []byte) (int, error) {
	done := 0
	for {
		changed, timeout := c.writeBy.wait()
		if err, _ := c.state(); err != nil {
			return done, err
		}
		if timeout != nil {
			return done, fmt.Errorf("mem: write: %w", timeout)
		}
		n := c.out.put(b[done:])
		done += n
		c.sent.Add(uint64(n))
		if done == len(b) {
			return done, nil
		}
		if n > 0 {
			continue
		}
		select {
		case <-c.out.writable:
		case <-changed:
		case <-c.ended:
		}
	}
}

// Close ends the connection. The other end reads what was written, then the
// cause.
func (c *connection) Close(cause error) error {
	err := cause
	if err == nil {
		err = conn.ErrClosed
	}
	if c.end(err, true) {
		c.network.closed(c, cause)
		c.readBy.set(time.Time{}) // stop the timers
		c.writeBy.set(time.Time{})
	}
	return nil
}

// Node returns the ID of the other end.
func (c *connection) Node() identity.NodeID { return c.node }

// LocalAddr returns the address of this end; a made-up one where it dialled.
func (c *connection) LocalAddr() identity.Address { return c.local }

// RemoteAddr returns the address of the other end.
func (c *connection) RemoteAddr() identity.Address { return c.remote }

// SetReadDeadline bounds pending and later reads.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.readBy.set(t)
	return nil
}

// SetWriteDeadline bounds pending and later writes.
func (c *connection) SetWriteDeadline(t time.Time) error {
	c.writeBy.set(t)
	return nil
}

// Stats returns the bytes carried, and datagrams as packets.
func (c *connection) Stats() conn.TransportStats {
	return conn.TransportStats{
		BytesSent: c.sent.Load(), BytesReceived: c.received.Load(),
		PacketsSent: c.dgSent.Load(), PacketsReceived: c.dgRecv.Load(),
	}
}

// Features tells of datagrams and close reasons.
func (c *connection) Features() conn.Features {
	return conn.Features{CloseReason: true, Datagrams: true}
}

// MaxDatagram returns 1200.
func (c *connection) MaxDatagram() int { return maxDatagram }

// SendDatagram sends a copy of p. It is lost if 128 others wait at the other
// end or the network is stalled.
func (c *connection) SendDatagram(p []byte) error {
	if err, _ := c.state(); err != nil {
		return err
	}
	if len(p) > maxDatagram {
		return fmt.Errorf("mem: datagram has %d bytes, at most %d are allowed", len(p), maxDatagram)
	}
	c.dgSent.Add(1)
	c.out.mu.Lock()
	stalled := c.out.stalled
	c.out.mu.Unlock()
	if stalled {
		return nil
	}
	select {
	case c.line.ends[1-c.side].datagrams <- append([]byte(nil), p...):
	default:
	}
	return nil
}

// ReceiveDatagram waits for the next datagram.
func (c *connection) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	if err, hard := c.state(); hard {
		return nil, err
	}
	select {
	case p := <-c.datagrams:
		c.dgRecv.Add(1)
		return p, nil
	default:
	}
	select {
	case p := <-c.datagrams:
		c.dgRecv.Add(1)
		return p, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ended:
		err, _ := c.state()
		return nil, err
	}
}
