package conn

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A Local is what a transport needs to know of the node that uses it.
type Local struct {
	// Key proves this node's ID to the other end.
	Key identity.PrivateKey
	// HandshakeTimeout bounds the proof of identities on every connection.
	// Default 10 s.
	HandshakeTimeout time.Duration
	// MaxHandshakes bounds the incoming connections whose handshake is not
	// finished. Where one more arrives, the oldest of the host that has most
	// of them is given up (an IPv4 address, or a /64 of IPv6), so that stalled
	// ones do not keep others out, nor does one host. Default 256.
	MaxHandshakes int
}

// Defaults of [Local].
const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultMaxHandshakes    = 256
)

// WithDefaults returns l with its zero fields set to their defaults.
func (l Local) WithDefaults() Local {
	if l.HandshakeTimeout <= 0 {
		l.HandshakeTimeout = defaultHandshakeTimeout
	}
	if l.MaxHandshakes <= 0 {
		l.MaxHandshakes = defaultMaxHandshakes
	}
	return l
}

// A Transport makes connections for the address schemes that it knows. One
// value serves one node; methods may be called from any goroutine.
type Transport interface {
	// Schemes returns the address schemes that this transport dials and
	// listens on, the same on every call.
	Schemes() []string

	// Dial connects to a node at an address and returns when both ends have
	// proven their IDs. If peer is not zero and another node answers, the
	// error is a [*WrongNodeError]. When ctx ends, so does the dial.
	Dial(ctx context.Context, local Local, peer identity.NodeID, addr identity.Address) (Conn, error)

	// Listen accepts connections at an address. Port 0 asks for a free port,
	// which [Listener.Addr] then tells. ctx bounds the call, not the listener.
	Listen(ctx context.Context, local Local, addr identity.Address) (Listener, error)

	// Close closes the listeners and what they share with dialled
	// connections, such as a socket, and waits until nothing is left running.
	// Connections that still use a shared socket break.
	Close() error
}

// A Listener hands out incoming connections whose handshake has succeeded.
// Handshakes run beside each other: a slow one delays nobody.
type Listener interface {
	// Accept waits for the next connection, until ctx ends or the listener
	// is closed ([ErrClosed]). An error other than these two is temporary.
	Accept(ctx context.Context) (Conn, error)
	// Addr returns the address that is listened on, with its real port.
	Addr() identity.Address
	// Close stops listening. Connections that Accept has returned live on;
	// those that wait for Accept are closed. It may be called more than once.
	Close() error
}

// A Conn is an authenticated, ordered, reliable stream of bytes to one node.
// One goroutine may read while another writes; Close, Stats and the deadlines
// may be called from any goroutine.
//
// What is written in one call may be read in several, and the other way round:
// messages are the business of the layer above. Write many messages in one
// call: that is what makes transports fast.
type Conn interface {
	io.Reader
	io.Writer

	// Close ends the connection at once, on both sides; what was written but
	// not yet sent may be lost. Pending and later calls of Read and Write on
	// this side return an error that wraps cause, or [ErrClosed] for nil. The
	// other side reads a [*CloseError] where the transport carries
	// reasons, else io.EOF or a network error. Calls after the first do
	// nothing.
	Close(cause error) error

	// Node returns the proven ID of the other end.
	Node() identity.NodeID
	// LocalAddr and RemoteAddr return the addresses of the two sockets.
	LocalAddr() identity.Address
	RemoteAddr() identity.Address

	// SetReadDeadline and SetWriteDeadline bound pending and later calls,
	// which then fail with an error that satisfies
	// errors.Is(err, os.ErrDeadlineExceeded). Zero: no bound.
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error

	// Stats returns what the transport has measured. It costs little and is
	// valid after Close.
	Stats() TransportStats
	// Features says what else this connection can do.
	Features() Features
}

// Features is what a connection can do beyond carrying a stream.
type Features struct {
	CloseReason bool // the cause of Close reaches the other side
	Datagrams   bool // the Conn is a [DatagramConn], and the other side takes datagrams
	Streams     bool // the Conn is a [StreamConn] whose OpenStream works
	Reliable    bool // loss is repaired below: datagrams go by the reliable path too
}

// A StreamConn also carries further streams to the same node, for bulk that
// must not delay what the Conn itself carries. Each is reliable and ordered by
// itself; none waits for another. The streams are [net.Conn]s with a method
// CloseWrite() error, and their addresses tell the transport and the node.
type StreamConn interface {
	Conn
	// OpenStream opens a stream. Where only the side that dialled can do so,
	// the other's error satisfies errors.Is(err, errors.ErrUnsupported).
	OpenStream(ctx context.Context) (net.Conn, error)
	// AcceptStream waits for the next stream that the other end has opened.
	// Whether a stream that nothing was written to is seen depends on the
	// transport. One that waits for too long may be ended.
	AcceptStream(ctx context.Context) (net.Conn, error)
}

// A DatagramConn also carries datagrams: they may be lost, repeated or
// overtaken, and arrive whole or not at all.
type DatagramConn interface {
	Conn
	// MaxDatagram returns the largest datagram in bytes; it may change as
	// the path does.
	MaxDatagram() int
	// SendDatagram sends a copy of p, or fails at once if it is too large.
	SendDatagram(p []byte) error
	// ReceiveDatagram waits for the next datagram. The result is the
	// caller's.
	ReceiveDatagram(ctx context.Context) ([]byte, error)
}

// TransportStats is what a transport knows of a connection. Zero fields are
// unknown.
type TransportStats struct {
	BytesSent, BytesReceived     uint64        // of the stream, without headers and encryption
	RTT, MinRTT, RTTVariation    time.Duration // smoothed, as the transport measures it
	PacketsSent, PacketsReceived uint64
	PacketsLost                  uint64
}
