//go:build !js

package ws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/plexus-net/plexus/internal/deadline"
)

const (
	chunkSize     = 32 << 10              // read at once
	chunksAhead   = 2                     // read before they are asked for
	closePatience = 20 * time.Millisecond // for the close frame into a full socket
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// A chunk is bytes that were received: data[pos:end].
type chunk struct {
	data     *[chunkSize]byte
	pos, end int
}

// A stream is the net.Conn that conn/secure has over a WebSocket: each Write is
// a message. coder/websocket ends a connection when the context of a read ends,
// so reading has a goroutine of its own, and Read waits for what it has.
//
//	Read <─ chunks <─ pump <─ coder/websocket <─ socket
type stream struct {
	ws     *websocket.Conn
	socket *socket
	chunks chan chunk // from pump, which closes it
	err    error      // why pump ended; set before chunks is closed
	rest   chunk      // of the one goroutine that reads
	readBy deadline.Deadline
	close  sync.Once
	closed chan struct{}
	done   chan struct{} // closed when pump has ended
}

// newStream takes over wc, which is over s.
func newStream(wc *websocket.Conn, s *socket) *stream {
	wc.SetReadLimit(-1) // messages are read in pieces, of any length
	st := &stream{
		ws: wc, socket: s,
		chunks: make(chan chunk, chunksAhead-1), closed: make(chan struct{}), done: make(chan struct{}),
	}
	go st.pump()
	return st
}

// pump reads until the connection ends, or is closed.
func (s *stream) pump() {
	defer close(s.done)
	defer close(s.chunks)
	for {
		kind, r, err := s.ws.Reader(context.Background())
		if err == nil && kind != websocket.MessageBinary {
			err = errors.New("ws: the peer sent a text message; want binary ones")
		}
		if err == nil {
			err = s.receive(r)
		}
		if err != nil {
			s.err = end(err)
			return
		}
	}
}

// receive hands over one message, in pieces. It holds a buffer only while a
// message arrives or waits.
func (s *stream) receive(r io.Reader) error {
	for {
		c := chunk{data: chunks.Get().(*[chunkSize]byte)}
		n, err := r.Read(c.data[:])
		if err != nil && err != io.EOF {
			n = 0 // what came of a frame that broke off is still masked
		}
		if c.end = n; n == 0 {
			chunks.Put(c.data)
		} else {
			select {
			case s.chunks <- c:
			case <-s.closed:
				chunks.Put(c.data)
				return net.ErrClosed
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// end turns the ways in which the other side may end a connection in order into
// io.EOF.
func end(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return err
}

// Read returns what has arrived, not more than one chunk.
func (s *stream) Read(p []byte) (int, error) {
	if s.readBy.Passed() {
		return 0, os.ErrDeadlineExceeded // crypto/tls goes on after exactly this error
	}
	if len(p) == 0 {
		return 0, nil
	}
	if s.rest.data == nil {
		select {
		case c, ok := <-s.chunks:
			if !ok {
				return 0, s.err
			}
			s.rest = c
		case <-s.readBy.Wait():
			return 0, os.ErrDeadlineExceeded
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, s.rest.data[s.rest.pos:s.rest.end])
	if s.rest.pos += n; s.rest.pos == s.rest.end {
		chunks.Put(s.rest.data)
		s.rest = chunk{}
	}
	return n, nil
}

// Write sends p as one message.
func (s *stream) Write(p []byte) (int, error) {
	s.socket.cork()
	err := s.ws.Write(context.Background(), websocket.MessageBinary, p)
	if flushErr := s.socket.flush(); err == nil {
		err = flushErr
	}
	switch {
	case err == nil:
		return len(p), nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, os.ErrDeadlineExceeded
	}
	return 0, fmt.Errorf("ws: write: %w", err)
}

// Close sends a close frame if that is possible within 20 ms, waits for no
// answer, and closes the socket.
func (s *stream) Close() error {
	s.close.Do(func() {
		close(s.closed)
		_ = s.socket.SetWriteDeadline(time.Now().Add(closePatience)) // fails only if it has broken
		_ = s.socket.SetReadDeadline(time.Unix(1, 0))
		_ = s.ws.Close(websocket.StatusNormalClosure, "") // always closes
	})
	<-s.done
	return nil
}

// SetLinger lets conn/secure give up what the kernel holds for a peer that does
// not read.
func (s *stream) SetLinger(seconds int) error {
	if l, ok := s.socket.Conn.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(seconds)
	}
	return errors.ErrUnsupported
}

// LocalAddr returns the address of the socket.
func (s *stream) LocalAddr() net.Addr { return s.socket.LocalAddr() }

// RemoteAddr returns the address of the socket's other end.
func (s *stream) RemoteAddr() net.Addr { return s.socket.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline bounds reads; reading may go on after a missed one.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.readBy.Set(t)
	return nil
}

// SetWriteDeadline bounds writes; nothing can be written after a missed one.
func (s *stream) SetWriteDeadline(t time.Time) error { return s.socket.SetWriteDeadline(t) }
