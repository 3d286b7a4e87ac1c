//go:build !js

package webtransport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/identity"
)

// errUnbound is of what only a bound connection has.
var errUnbound = fmt.Errorf("webtransport: the other end is a browser: %w", errors.ErrUnsupported)

// errStreamClosed is the error of using a stream that was closed here.
var errStreamClosed = fmt.Errorf("webtransport: the stream is closed here: %w", net.ErrClosed)

// A bulk is a further stream of a connection. It is encrypted by the outer layer
// alone, which is bound to the node.
type bulk struct {
	*wt.Stream
	conn    *connection
	writing sync.Mutex // held while one writes: quic-go's Close may not run beside that
	ended   bool       // guarded by writing: nothing more is written
	close   sync.Once
}

var _ interface {
	net.Conn
	CloseWrite() error
} = (*bulk)(nil)

// OpenStream opens a stream of the session. The other end sees it once something
// was written to it.
func (c *connection) OpenStream(ctx context.Context) (net.Conn, error) {
	if !c.bound {
		return nil, errUnbound
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s, err := c.OpenStreamSync(ctx)
	return c.bulk(ctx, s, err)
}

// AcceptStream waits for a stream that the other end has opened and written to.
func (c *connection) AcceptStream(ctx context.Context) (net.Conn, error) {
	if !c.bound {
		return nil, errUnbound
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s, err := c.Session.AcceptStream(ctx)
	return c.bulk(ctx, s, err)
}

func (c *connection) bulk(ctx context.Context, s *wt.Stream, err error) (net.Conn, error) {
	switch {
	case err == nil:
		return &bulk{Stream: s, conn: c}, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, c.why(err)
}

// Read reads from the stream.
func (b *bulk) Read(p []byte) (int, error) {
	n, err := b.Stream.Read(p)
	return n, b.why(err)
}

// Write writes to the stream.
func (b *bulk) Write(p []byte) (int, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.ended {
		return 0, errStreamClosed
	}
	n, err := b.Stream.Write(p)
	return n, b.why(err)
}

// why tells the end of the stream from the end of the connection.
func (b *bulk) why(err error) error {
	var reset *wt.StreamError
	switch {
	case err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.As(err, &reset) && reset.Remote:
		return fmt.Errorf("webtransport: the other end has closed the stream: %w", io.ErrClosedPipe)
	case errors.As(err, &reset):
		return errStreamClosed
	}
	if err = b.conn.why(err); err == io.EOF {
		err = io.ErrUnexpectedEOF // the connection has ended, not the stream
	}
	return err
}

// CloseWrite tells the other end that nothing more comes. It waits for a pending
// Write.
func (b *bulk) CloseWrite() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.ended = true
	_ = b.Stream.Close() // it fails only where the direction has ended another way
	return nil
}

// Close ends both directions. What was written still arrives, but for a Write
// that is pending: it fails, and the other end reads an error.
func (b *bulk) Close() error {
	b.close.Do(func() {
		b.CancelRead(0)
		if b.writing.TryLock() {
			b.ended = true
			_ = b.Stream.Close() // as in CloseWrite
			b.writing.Unlock()
			return
		}
		b.CancelWrite(0)
	})
	return nil
}

// LocalAddr tells the transport and this node's socket.
func (b *bulk) LocalAddr() net.Addr { return bulkAddr(b.conn.LocalAddr().String()) }

// RemoteAddr tells the transport and the other node.
func (b *bulk) RemoteAddr() net.Addr {
	return bulkAddr(identity.PeerAddress{ID: b.conn.Node(), Addresses: []identity.Address{b.conn.RemoteAddr()}}.String())
}

// SetDeadline sets both deadlines.
func (b *bulk) SetDeadline(t time.Time) error { return b.Stream.SetDeadline(t) }

// A bulkAddr is where one end of a stream is.
type bulkAddr string

// Network returns "wt".
func (bulkAddr) Network() string { return scheme }

func (a bulkAddr) String() string { return string(a) }
