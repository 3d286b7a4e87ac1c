package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/quicgo"
)

// A connection is a QUIC connection. It implements [conn.DatagramConn] and
// [conn.StreamConn].
type connection struct {
	quic           *quic.Conn
	own, node      identity.NodeID
	local          atomic.Pointer[identity.Address] // changes as it moves
	target         *net.UDPAddr                     // nil: it was accepted
	remote         identity.Address                 // target; zero: quic tells
	out            *quic.SendStream
	in             atomic.Pointer[quic.ReceiveStream] // nil until the first Read has it
	sent, received atomic.Uint64
	carries        bool // datagrams
	outgoing       quicgo.Outbox

	firstOnce sync.Once
	first     atomic.Pointer[quic.Stream] // opened to see whether the other end takes streams
	streams   atomic.Bool                 // it does

	close sync.Once
	cause atomic.Pointer[error] // set by Close

	// Guarded by the mutex of the transport.
	socket *socket   // nil once it has ended
	held   []*socket // more that it has used, or tried

	// Guarded by the transport's moving.
	path  *quic.Path // that Rebind has moved it to
	moved int        // how often

	mu     sync.Mutex         // guards what follows
	readBy time.Time          // while in is nil
	retry  context.CancelFunc // makes a pending accept look at readBy again
}

var _ conn.DatagramConn = (*connection)(nil)

func newConn(qc *quic.Conn, own identity.NodeID, target *net.UDPAddr) (*connection, error) {
	state := qc.ConnectionState()
	node, err := secure.NodeOf(state.TLS)
	if err != nil {
		return nil, err
	}
	out, err := qc.OpenUniStream()
	if err != nil {
		return nil, fmt.Errorf("the peer takes no stream: %w", mapError(err))
	}
	c := &connection{
		quic: qc, own: own, node: node, out: out,
		carries: state.SupportsDatagrams.Local && state.SupportsDatagrams.Remote,
	}
	if target != nil {
		c.target, c.remote = target, address(target)
	}
	return c, nil
}

// Read reads the stream that the other side writes.
func (c *connection) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, c.why(nil)
	}
	in := c.in.Load()
	if in == nil {
		var err error
		if in, err = c.accept(); err != nil {
			return 0, c.why(err)
		}
	}
	n, err := in.Read(p)
	c.received.Add(uint64(n))
	if err != nil {
		return n, c.why(err)
	}
	return n, nil
}

// accept waits for the other side's stream: it exists once something was
// written to it.
func (c *connection) accept() (*quic.ReceiveStream, error) {
	for {
		c.mu.Lock()
		var ctx context.Context
		if c.readBy.IsZero() {
			ctx, c.retry = context.WithCancel(context.Background())
		} else {
			ctx, c.retry = context.WithDeadline(context.Background(), c.readBy)
		}
		retry := c.retry
		c.mu.Unlock()
		in, err := c.quic.AcceptUniStream(ctx)
		expired := ctx.Err() == context.DeadlineExceeded
		changed := ctx.Err() == context.Canceled
		retry()
		if err == nil {
			c.mu.Lock()
			c.retry = nil
			err = in.SetReadDeadline(c.readBy)
			c.in.Store(in)
			c.mu.Unlock()
			return in, err
		}
		switch {
		case expired:
			return nil, os.ErrDeadlineExceeded
		case !changed:
			return nil, err
		}
	}
}

// Write writes to this side's stream. It waits until p has been put into
// packets.
func (c *connection) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, c.why(nil)
	}
	n, err := c.out.Write(p)
	c.sent.Add(uint64(n))
	if err != nil {
		return n, c.why(err)
	}
	return n, nil
}

// why returns the cause of Close instead of err, if it was closed here.
func (c *connection) why(err error) error {
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	return mapError(err)
}

// mapError turns quic-go's errors into those of package conn.
func mapError(err error) error {
	if err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	var wrong *conn.WrongNodeError
	var large *quic.DatagramTooLargeError
	if errors.As(err, &wrong) || errors.As(err, &large) {
		return err
	}
	var app *quic.ApplicationError
	if errors.As(err, &app) {
		code := conn.CodeProtocol
		if app.ErrorCode <= 0xffff {
			code = conn.Code(app.ErrorCode)
		}
		return &conn.CloseError{Code: code, Reason: quicgo.Reason(app.ErrorMessage), Remote: app.Remote}
	}
	var idle *quic.IdleTimeoutError
	var slow *quic.HandshakeTimeoutError
	if errors.As(err, &idle) || errors.As(err, &slow) {
		return &conn.CloseError{Code: conn.CodeTimeout, Err: err}
	}
	var stream *quic.StreamError
	if errors.As(err, &stream) { // this package never resets a stream of the Conn
		return &conn.CloseError{Code: conn.CodeProtocol, Err: err}
	}
	var transport *quic.TransportError
	if errors.As(err, &transport) && transport.ErrorCode == quic.ConnectionRefused && transport.Remote {
		return &conn.CloseError{Code: conn.CodeLimit, Remote: true, Err: err}
	}
	return &conn.CloseError{Code: conn.CodeUnreachable, Err: err}
}

// Close ends the connection; the other side reads code and reason of cause.
func (c *connection) Close(cause error) error {
	if cause == nil {
		cause = conn.ErrClosed
	}
	c.close.Do(func() {
		c.cause.Store(&cause)
		ce := conn.AsCloseError(cause)
		_ = c.quic.CloseWithError(quic.ApplicationErrorCode(ce.Code), quicgo.Reason(ce.Reason)) // nil, or closed already
	})
	return nil
}

// Node returns the ID that the other end has proven.
func (c *connection) Node() identity.NodeID { return c.node }

// LocalAddr returns the address of the socket, which Rebind changes.
func (c *connection) LocalAddr() identity.Address { return *c.local.Load() }

// RemoteAddr returns the address where the other end is. Of one that dialled
// this node it follows moves, once QUIC has proven that it is there.
func (c *connection) RemoteAddr() identity.Address {
	if c.target != nil {
		return c.remote // quic-go's RemoteAddr may not be called while the connection moves
	}
	return address(c.quic.RemoteAddr())
}

// SetReadDeadline bounds reads; reading may go on after a missed one.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	if in := c.in.Load(); in != nil {
		return in.SetReadDeadline(t)
	}
	if c.retry != nil {
		c.retry()
	}
	return nil
}

// SetWriteDeadline bounds writes. After a missed one, what was not written may
// be written again.
func (c *connection) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

// Stats returns what quic-go has measured.
func (c *connection) Stats() conn.TransportStats {
	q := c.quic.ConnectionStats()
	return conn.TransportStats{
		BytesSent: c.sent.Load(), BytesReceived: c.received.Load(),
		RTT: q.SmoothedRTT, MinRTT: q.MinRTT, RTTVariation: q.MeanDeviation,
		PacketsSent: q.PacketsSent, PacketsReceived: q.PacketsReceived, PacketsLost: q.PacketsLost,
	}
}

// Features tells of close reasons, and of datagrams and streams if the other
// side takes them.
func (c *connection) Features() conn.Features {
	return conn.Features{CloseReason: true, Datagrams: c.carries, Streams: c.takesStreams()}
}
