//go:build !js

package webtransport

import (
	"context"
	"net"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"
)

// Timings and limits.
const (
	idleTimeout = 30 * time.Second
	keepAlive   = 10 * time.Second
	maxWindow   = 6 << 20  // bytes received and not read, per stream
	startWindow = 64 << 10 // of it, before a stream was read
	maxStreams  = 32       // that the other side has open at once
	ownStreams  = 2        // beside them: of the request, and of the Conn
	uniStreams  = 8        // of HTTP/3, which has three and may try others
	maxHeader   = 16 << 10
)

// codeBase is what close codes of package conn are added to as QUIC's.
const codeBase = 0x706c6578_0000

// quicConfig returns quic-go's configuration. quic-go gives a handshake up after
// twice HandshakeIdleTimeout.
func quicConfig(timeout time.Duration) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:       timeout / 2,
		MaxIdleTimeout:             idleTimeout,
		KeepAlivePeriod:            keepAlive,
		InitialStreamReceiveWindow: startWindow,
		MaxStreamReceiveWindow:     maxWindow,
		// It does not grow: what streams hold that are not read must leave room
		// for the others from the beginning.
		InitialConnectionReceiveWindow:   maxWindow + maxStreams*startWindow,
		MaxConnectionReceiveWindow:       maxWindow + maxStreams*startWindow,
		MaxIncomingStreams:               maxStreams + ownStreams,
		MaxIncomingUniStreams:            uniStreams,
		EnableDatagrams:                  true,
		EnableStreamResetPartialDelivery: true,
	}
}

// A session is a WebTransport session and the QUIC connection that it has for
// itself: they end together.
type session struct {
	*wt.Session
	quic *quic.Conn
}

// end closes the connection without a reason.
func (s session) end() {
	_ = s.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") // nil, or closed already
}

// exporterLabel names the keys by which the two layers of TLS are bound together
// (RFC 8446, 7.5).
const exporterLabel = "EXPORTER-plexus-webtransport-v1"

// exported returns what only the two ends of the QUIC connection know.
func (s session) exported() ([]byte, error) {
	state := s.quic.ConnectionState().TLS
	return state.ExportKeyingMaterial(exporterLabel, nil, proofSize)
}

// A stream is a WebTransport stream as the net.Conn beneath conn/secure. Closing
// it ends the session.
type stream struct {
	*wt.Stream
	session session
}

// Close ends the session.
func (s *stream) Close() error {
	s.session.end()
	return nil
}

// LocalAddr returns the address of the socket.
func (s *stream) LocalAddr() net.Addr { return s.session.quic.LocalAddr() }

// RemoteAddr returns the address of the other socket.
func (s *stream) RemoteAddr() net.Addr { return s.session.quic.RemoteAddr() }

// untilEnded closes the connection when ctx ends, until stop is called, which
// reports whether it came first.
func untilEnded(ctx context.Context, qc *quic.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { session{quic: qc}.end() })
}
