//go:build !js

package ws

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// Buffers of coder/websocket for writing. What is written is joined by the
// socket; with outer TLS the buffer is what makes a record.
const (
	plainBuffer = 64
	tlsBuffer   = 4 << 10
)

// answer reads the one request of a connection and answers it. A whole
// http.Server would keep connections outside of Handshakes, without a bound on
// how many have not asked yet.
func (l *listener) answer(ctx context.Context, s *socket) (*websocket.Conn, error) {
	var nc net.Conn = s
	size := plainBuffer
	if l.tls != nil {
		tc := tls.Server(s, l.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		nc, size = tc, tlsBuffer
	}
	limited := &io.LimitedReader{R: nc, N: maxHeader}
	br := bufio.NewReader(limited)
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	limited.N = math.MaxInt64 // what follows is no header
	r.RemoteAddr = s.RemoteAddr().String()
	w := &writer{conn: nc, reader: br, header: http.Header{}, size: size}
	return l.upgrade(w, r, s.idle)
}

// A writer is the http.ResponseWriter for the one answer on a connection.
type writer struct {
	conn   net.Conn
	reader *bufio.Reader
	header http.Header
	size   int // of the buffer for what follows
	wrote  bool
}

// Header returns the header of the answer.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader sends the header. All but an upgrade ends the connection.
func (w *writer) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	if status != http.StatusSwitchingProtocols {
		w.header.Set("Connection", "close")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = w.header.Write(&b) // a Buffer takes everything
	b.WriteString("\r\n")
	_, _ = w.conn.Write(b.Bytes()) // if it has broken, reading tells
}

// Write sends a piece of the body, which ends with the connection.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.conn.Write(p)
}

// Hijack hands over the connection.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.reader, bufio.NewWriterSize(w.conn, w.size)), nil
}

// A mountedWriter puts a socket between coder/websocket and the connection of
// the caller's server.
type mountedWriter struct {
	http.ResponseWriter
	socket *socket
}

// Hijack takes the connection from the server.
func (w *mountedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("ws: the HTTP server does not hand over connections: %w", err)
	}
	_ = nc.SetDeadline(time.Time{}) // the server's were for the request; it fails only if nc has broken
	w.socket = &socket{Conn: nc}
	return w.socket, bufio.NewReadWriter(rw.Reader, bufio.NewWriterSize(w.socket, tlsBuffer)), nil
}
