package secure

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A stream is one end of a stream of a streamed connection: a TLS connection of
// its own.
type stream struct {
	tls   secured
	owner *streamed
	own   identity.NodeID // of this end
	left  chan struct{}   // closed when it no longer waits for AcceptStream; nil: it never did
	close sync.Once
}

var _ interface {
	net.Conn
	CloseWrite() error
} = (*stream)(nil)

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.tls.Read(p)
	if err != nil && errors.Is(err, errTorn) {
		s.owner.suspect() // it may be that the whole connection is gone
	}
	return n, err
}

func (s *stream) Write(p []byte) (int, error) { return s.tls.Write(p) }

// CloseWrite tells the other end that nothing more comes. It waits as Write
// does.
func (s *stream) CloseWrite() error { return s.tls.why(s.tls.tls.CloseWrite()) }

// Close ends both directions. What was written still arrives, unless the other
// end does not read for 5 s.
func (s *stream) Close() error {
	s.close.Do(func() {
		s.tls.end(s.tls.wire.Conn, net.ErrClosed)
		_ = s.tls.tls.Close() // closes the socket, whatever it says of its last record
		s.owner.forget(s)
	})
	return nil
}

// abort ends the stream with its connection: at once, and without the word to
// the other end that all has been said.
func (s *stream) abort(cause error) {
	s.close.Do(func() {
		s.tls.end(s.tls.wire.Conn, cause)
		s.tls.wire.Conn.Close()
	})
}

// LocalAddr tells the transport and this node.
func (s *stream) LocalAddr() net.Addr { return streamAddr{s.own, s.tls.local} }

// RemoteAddr tells the transport and the other node.
func (s *stream) RemoteAddr() net.Addr { return streamAddr{s.tls.node, s.tls.remote} }

func (s *stream) SetDeadline(t time.Time) error      { return s.tls.tls.SetDeadline(t) }
func (s *stream) SetReadDeadline(t time.Time) error  { return s.tls.tls.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.tls.tls.SetWriteDeadline(t) }

// A streamAddr is where one end of a stream is.
type streamAddr struct {
	node identity.NodeID
	at   identity.Address
}

// Network returns the scheme of the transport.
func (a streamAddr) Network() string { return a.at.Scheme }

// String returns a peer address.
func (a streamAddr) String() string { return a.node.String() + "@" + a.at.String() }
