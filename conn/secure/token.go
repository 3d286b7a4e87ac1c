package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// A stream begins with the token of its connection, from the side that dialled.
// The answer is one byte.
const (
	tokenLabel = "EXPORTER-plexus-stream/1" // RFC 8446, section 7.5
	tokenSize  = 32

	joined    = 0 // the stream is open
	stranger  = 1 // no such connection with this node is here
	noRoom    = 2 // too many streams wait or are open
	noStreams = 3 // none are taken here
	maxAnswer = noStreams

	maxUnasked = 8           // streams that wait for the first call of AcceptStream
	maxWaiting = 64          // streams that wait for a later one
	maxStreams = 256         // the default of Network.MaxStreams
	patience   = time.Second // for a connection that is about to be registered
)

var (
	errHungUp     = &conn.CloseError{Code: conn.CodeClosed, Remote: true}
	errNotDialled = fmt.Errorf("secure: only the side that dialled opens streams: %w", errors.ErrUnsupported)
	errTooMany    = errors.New("secure: too many streams of the connection")
	errNoStreams  = fmt.Errorf("secure: the other end takes no streams: %w", errors.ErrUnsupported)
	errUnwanted   = &conn.CloseError{Code: conn.CodeTimeout, Reason: "nobody accepted the stream"}
)

// A token names a connection to its two ends, and means nothing to others.
type token [tokenSize]byte

// tokenOf derives the token from the keys of the session.
func tokenOf(c *tls.Conn) (t token, err error) {
	state := c.ConnectionState()
	key, err := state.ExportKeyingMaterial(tokenLabel, nil, tokenSize)
	copy(t[:], key)
	return t, err
}

// refusal returns the error that an answer stands for.
func refusal(answer byte) error {
	switch answer {
	case joined:
		return nil
	case stranger:
		return &conn.CloseError{Code: conn.CodeRejected, Reason: "the connection of the stream is not there", Remote: true}
	case noRoom:
		return &conn.CloseError{Code: conn.CodeLimit, Reason: "too many streams wait for AcceptStream or are open", Remote: true}
	case noStreams:
		return errNoStreams
	}
	return &conn.CloseError{Code: conn.CodeProtocol, Reason: fmt.Sprintf("a stream was answered with %d, want 0 to %d", answer, maxAnswer)}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// A registry knows the connections that streams may come for.
type registry struct {
	none bool // no streams are taken: it is empty

	mu    sync.Mutex // guards what follows
	conns map[token]*streamed
	wake  chan struct{} // closed when one is added; nil: nobody waits
}

func (r *registry) add(c *streamed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		r.conns = map[token]*streamed{}
	}
	r.conns[c.token] = c
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

func (r *registry) remove(t token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, t)
}

// find returns the connection of a token, or nil. The side that dialled is done
// first: its stream may be here before the connection is.
func (r *registry) find(ctx context.Context, t token) *streamed {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		r.mu.Lock()
		c := r.conns[t]
		if r.wake == nil {
			r.wake = make(chan struct{})
		}
		wake := r.wake
		r.mu.Unlock()
		if c != nil {
			return c
		}
		select {
		case <-wake:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// join is the part of the side that was dialled, after the handshake of a
// stream: it finds the connection, hands the stream to it, and waits until
// AcceptStream takes it. Each of the two may take the timeout. A stream that
// nobody has asked for costs what a handshake costs, and is bounded as one.
func (r *registry) join(ctx context.Context, s *stream, timeout time.Duration) error {
	err := r.receive(ctx, s, timeout)
	if err == nil {
		err = s.owner.hold(ctx, s, timeout)
	}
	if err != nil {
		s.abort(err)
	}
	return err
}

// receive reads what a stream begins with and answers.
func (r *registry) receive(ctx context.Context, s *stream, timeout time.Duration) error {
	limited, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	answer, err := r.admit(ctx, s, cancel)
	if err == nil {
		err = bounded(ctx, s.tls.wire.Conn, func() error {
			_, err := s.tls.tls.Write([]byte{answer})
			return err
		})
	}
	if err == nil {
		err = refusal(answer)
	}
	if s.owner != nil {
		err = s.owner.settle(s, err)
	}
	return err
}

// admit reads the token and answers for the connection. s.owner is set if it
// takes the stream.
func (r *registry) admit(ctx context.Context, s *stream, cancel context.CancelCauseFunc) (answer byte, err error) {
	var t token
	err = bounded(ctx, s.tls.wire.Conn, func() error {
		_, err := io.ReadFull(s.tls.tls, t[:])
		return err
	})
	if err != nil {
		return 0, err
	}
	if r.none {
		return noStreams, nil
	}
	owner := r.find(ctx, t)
	if owner == nil || owner.node != s.tls.node {
		return stranger, nil
	}
	switch err := owner.begin(s, cancel); err {
	case nil:
		s.owner = owner
		return joined, nil
	case errTooMany:
		return noRoom, nil
	}
	return stranger, nil // it has just ended
}

// introduce is the part of the side that dialled.
func introduce(ctx context.Context, s *stream, t token) (answer byte, err error) {
	err = bounded(ctx, s.tls.wire.Conn, func() error {
		if _, err := s.tls.tls.Write(t[:]); err != nil {
			return err
		}
		var p [1]byte
		_, err := io.ReadFull(s.tls.tls, p[:])
		answer = p[0]
		return err
	})
	return answer, err
}

// hungUp reports whether the other end of a socket has sent its end, read or
// not. It does not know on every system.
func hungUp(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	var yes bool
	err = raw.Control(func(fd uintptr) { yes = pollHangup(fd) })
	return err == nil && yes
}
