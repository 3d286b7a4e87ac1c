package kcp

import (
	"errors"
	"net"
	"os"
	"time"
)

// A link is a session as crypto/tls sees it.
type link struct {
	session *session
	out     net.Conn // the end of a pipe
	local   net.Addr
	remote  net.Addr
}

// Read returns what has come, and then why no more does.
func (l *link) Read(p []byte) (int, error) { return l.session.in.read(p) }

// Write returns when kcp-go has taken p.
func (l *link) Write(p []byte) (int, error) {
	n, err := l.out.Write(p)
	if cause := l.session.cause.Load(); err != nil && cause != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = *cause
	}
	return n, err
}

// Close lets what was written go on its way, for a second at most. If the
// handshake has not succeeded, it ends everything at once: strangers hold nothing.
func (l *link) Close() error {
	l.session.closing.Do(func() {
		l.session.leaving.Store(true)
		if !l.session.proven.Load() {
			l.session.in.close(net.ErrClosed)
			l.session.abandon()
			return
		}
		l.session.linger.Reset(lingering)
		l.session.in.close(net.ErrClosed)
		l.out.Close()
	})
	return nil
}

// LocalAddr returns the address of this end.
func (l *link) LocalAddr() net.Addr { return l.local }

// RemoteAddr returns the address of the other end.
func (l *link) RemoteAddr() net.Addr { return l.remote }

// SetDeadline bounds pending and later calls.
func (l *link) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

// SetReadDeadline bounds pending and later reads.
func (l *link) SetReadDeadline(t time.Time) error {
	l.session.in.setDeadline(t)
	return nil
}

// SetWriteDeadline bounds pending and later writes.
func (l *link) SetWriteDeadline(t time.Time) error { return l.out.SetWriteDeadline(t) }
