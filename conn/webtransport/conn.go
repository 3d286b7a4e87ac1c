//go:build !js

package webtransport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/quicgo"
)

// causePending is for quic-go to tell why a connection has ended.
const causePending = 200 * time.Millisecond

// A connection is a connection of conn/secure over the first stream of a session.
// It implements [conn.DatagramConn] and [conn.StreamConn].
type connection struct {
	conn.Conn
	session
	bound    bool                // the session is proven to be the other node's
	before   conn.TransportStats // what had crossed with the binding
	outgoing quicgo.Outbox

	close sync.Once
	cause atomic.Pointer[error] // set by Close
}

var (
	_ conn.DatagramConn = (*connection)(nil)
	_ conn.StreamConn   = (*connection)(nil)
)

// bind runs one side's part of the binding, until ctx ends.
func bind(ctx context.Context, c conn.Conn, s session, part func(io.ReadWriter, []byte) (bool, error)) (*connection, error) {
	stop := untilEnded(ctx, s.quic)
	proof, err := s.exported()
	is := false
	if err == nil {
		is, err = part(c, proof)
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.end()
		c.Close(err)
		return nil, fmt.Errorf("webtransport: bind the layers: %w", err)
	}
	return &connection{Conn: c, session: s, bound: is, before: c.Stats()}, nil
}

// Read reads the stream of the connection.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.why(err)
}

// Write writes to the stream of the connection.
func (c *connection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.why(err)
}

// why returns the cause of Close instead of err, if it was closed here, or what
// the other side has said.
func (c *connection) why(err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	if err == io.EOF {
		return err
	}
	// Streams may hear of the end before the connection knows its reason.
	timer := time.NewTimer(causePending)
	defer timer.Stop()
	select {
	case <-c.quic.Context().Done():
		return c.mapError(context.Cause(c.quic.Context()))
	case <-timer.C:
		return c.mapError(err)
	}
}

// mapError turns the errors of what is beneath into those of package conn.
func (c *connection) mapError(err error) error {
	var app *quic.ApplicationError
	if errors.As(err, &app) && c.bound && app.ErrorCode >= codeBase && app.ErrorCode <= codeBase+0xffff {
		return &conn.CloseError{Code: conn.Code(app.ErrorCode - codeBase), Reason: quicgo.Reason(app.ErrorMessage), Remote: app.Remote}
	}
	var gone *wt.SessionError
	if errors.As(err, &app) && app.Remote || errors.As(err, &gone) && gone.Remote {
		return io.EOF // whoever it was gave no reason that can be trusted
	}
	var idle *quic.IdleTimeoutError
	if errors.As(err, &idle) {
		return &conn.CloseError{Code: conn.CodeTimeout, Err: err}
	}
	return &conn.CloseError{Code: conn.CodeUnreachable, Err: err}
}

// Close ends the connection; the other side reads code and reason of cause, if
// the layers are bound.
func (c *connection) Close(cause error) error {
	if cause == nil {
		cause = conn.ErrClosed
	}
	c.close.Do(func() {
		c.cause.Store(&cause)
		if c.bound {
			ce := conn.AsCloseError(cause)
			_ = c.quic.CloseWithError(codeBase+quic.ApplicationErrorCode(ce.Code), quicgo.Reason(ce.Reason)) // nil, or closed already
		}
		c.Conn.Close(cause)
		c.end()
	})
	return nil
}

// Stats returns what quic-go has measured.
func (c *connection) Stats() conn.TransportStats {
	s, q := c.Conn.Stats(), c.quic.ConnectionStats()
	return conn.TransportStats{
		BytesSent: s.BytesSent - c.before.BytesSent, BytesReceived: s.BytesReceived - c.before.BytesReceived,
		RTT: q.SmoothedRTT, MinRTT: q.MinRTT, RTTVariation: q.MeanDeviation,
		PacketsSent: q.PacketsSent, PacketsReceived: q.PacketsReceived, PacketsLost: q.PacketsLost,
	}
}

// Features tells what depends on the layers being bound.
func (c *connection) Features() conn.Features {
	return conn.Features{CloseReason: c.bound, Datagrams: c.bound, Streams: c.bound}
}
