//go:build !js

package ws

import (
	"net"
	"sync"
)

// corkSize is what a socket collects before it writes.
const corkSize = 64 << 10

var corkBuffers = sync.Pool{New: func() any { return new([corkSize]byte) }}

// A socket is the net.Conn beneath coder/websocket, which writes a message in
// pieces of 4 KiB. It joins what is written between cork and flush, and holds a
// buffer only for that time.
type socket struct {
	net.Conn

	mu     sync.Mutex // guards what follows; held while writing to Conn
	corked bool
	out    *[corkSize]byte // out[:n] waits for flush
	n      int
	failed error // the first error of writing: the stream is torn from there on
}

// idle reports whether nobody is writing just now.
func (s *socket) idle() bool {
	if !s.mu.TryLock() {
		return false
	}
	defer s.mu.Unlock()
	return !s.corked
}

// cork makes Write collect until flush.
func (s *socket) cork() {
	s.mu.Lock()
	s.corked = true
	s.mu.Unlock()
}

// flush writes what was collected since cork.
func (s *socket) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corked = false
	return s.writeOut(nil)
}

// Write takes p, or writes it.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return 0, s.failed
	}
	if s.corked && s.n+len(p) <= corkSize {
		if s.out == nil {
			s.out = corkBuffers.Get().(*[corkSize]byte)
		}
		s.n += copy(s.out[s.n:], p)
		return len(p), nil
	}
	if err := s.writeOut(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeOut writes what was collected, and then p. Callers hold mu.
func (s *socket) writeOut(p []byte) error {
	if s.failed == nil {
		switch {
		case s.n > 0 && len(p) > 0:
			both := net.Buffers{s.out[:s.n], p}
			_, s.failed = both.WriteTo(s.Conn)
		case s.n > 0:
			_, s.failed = s.Conn.Write(s.out[:s.n])
		case len(p) > 0:
			_, s.failed = s.Conn.Write(p)
		}
	}
	if s.out != nil {
		corkBuffers.Put(s.out)
		s.out, s.n = nil, 0
	}
	return s.failed
}
