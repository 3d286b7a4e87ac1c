package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

var _ conn.StreamConn = (*connection)(nil)

// errNoStreams is the error of opening a stream to a peer that takes none.
var errNoStreams = fmt.Errorf("quic: the other end takes no streams; it runs an older version, or its Config.Streams is negative: %w", errors.ErrUnsupported)

// takesStreams reports whether the other end does. quic-go does not tell: the
// first caller opens a stream, which nobody sees before something is written
// to it, and OpenStream hands it out.
func (c *connection) takesStreams() bool {
	c.firstOnce.Do(func() {
		first, err := c.quic.OpenStream()
		if err == nil {
			c.first.Store(first)
			c.streams.Store(true)
		}
	})
	return c.streams.Load()
}

// OpenStream opens a stream. While the other end has as many open as it takes,
// it waits for one of them to be closed by both ends. The other end sees it
// once something is written or it is closed.
func (c *connection) OpenStream(ctx context.Context) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := c.quic.Context().Err(); err != nil {
		return nil, c.why(context.Cause(c.quic.Context()))
	}
	if !c.takesStreams() {
		return nil, errNoStreams
	}
	if first := c.first.Swap(nil); first != nil {
		return c.newStream(first), nil
	}
	s, err := c.quic.OpenStreamSync(ctx)
	if err != nil {
		return nil, c.whyCtx(ctx, err)
	}
	return c.newStream(s), nil
}

// AcceptStream waits for the next stream of the other end. At most
// Config.Streams wait for it.
func (c *connection) AcceptStream(ctx context.Context) (net.Conn, error) {
	s, err := c.quic.AcceptStream(ctx)
	if err != nil {
		return nil, c.whyCtx(ctx, err)
	}
	return c.newStream(s), nil
}

// whyCtx is why, for calls that ctx bounds.
func (c *connection) whyCtx(ctx context.Context, err error) error {
	if ctx.Err() != nil && c.quic.Context().Err() == nil {
		return context.Cause(ctx)
	}
	return c.why(err)
}

// A stream is a bidirectional QUIC stream beside those of the Conn. It is a
// net.Conn with CloseWrite. Both ends must close it: until then it counts
// towards Config.Streams.
type stream struct {
	quic *quic.Stream
	conn *connection

	writing sync.Mutex // held while one writes: quic-go's Close may not run beside that
	ended   bool       // guarded by writing: nothing more is written
	close   sync.Once
}

func (c *connection) newStream(s *quic.Stream) *stream { return &stream{quic: s, conn: c} }

// Read reads until the other end has closed the direction: then io.EOF.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.quic.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, s.why(err)
}

// Write waits until p has been put into packets.
func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.ended {
		return 0, errStreamClosed
	}
	n, err := s.quic.Write(p)
	if err != nil {
		return n, s.why(err)
	}
	return n, nil
}

// why turns the errors of quic-go into those of package net and of the Conn.
func (s *stream) why(err error) error {
	var reset *quic.StreamError
	if !errors.As(err, &reset) {
		return s.conn.why(err)
	}
	if reset.Remote {
		return fmt.Errorf("quic: the other end has closed the stream: %w", io.ErrClosedPipe)
	}
	return errStreamClosed
}

// errStreamClosed is the error of using a stream that was closed here.
var errStreamClosed = fmt.Errorf("quic: the stream is closed here: %w", net.ErrClosed)

// CloseWrite tells the other end that nothing more comes. It waits for a
// pending Write.
func (s *stream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.ended = true
	_ = s.quic.Close() // it fails only where the direction has ended another way
	return nil
}

// Close ends both directions. What was written still arrives, but for a Write
// that is pending: it fails, and the other end reads an error.
func (s *stream) Close() error {
	s.close.Do(func() {
		s.quic.CancelRead(0)
		if s.writing.TryLock() {
			s.ended = true
			_ = s.quic.Close() // as in CloseWrite
			s.writing.Unlock()
			return
		}
		s.quic.CancelWrite(0)
	})
	return nil
}

// SetDeadline, SetReadDeadline and SetWriteDeadline bound pending and later
// calls, which may go on after a missed one.
func (s *stream) SetDeadline(t time.Time) error      { return s.quic.SetDeadline(t) }
func (s *stream) SetReadDeadline(t time.Time) error  { return s.quic.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.quic.SetWriteDeadline(t) }

// LocalAddr tells the transport and this node.
func (s *stream) LocalAddr() net.Addr { return streamAddr{s.conn.own, s.conn.LocalAddr()} }

// RemoteAddr tells the transport and the other node.
func (s *stream) RemoteAddr() net.Addr { return streamAddr{s.conn.node, s.conn.RemoteAddr()} }

// A streamAddr is where one end of a stream is.
type streamAddr struct {
	node identity.NodeID
	at   identity.Address
}

// Network returns "quic".
func (a streamAddr) Network() string { return a.at.Scheme }

// String returns a peer address.
func (a streamAddr) String() string { return a.node.String() + "@" + a.at.String() }
