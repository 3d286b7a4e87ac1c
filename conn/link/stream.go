package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/origin"
)

// A Stream is what a [Link] runs over. Every net.Conn and conn.Conn is one;
// another type also needs a method Close() error or Close(cause error) error.
type Stream interface {
	io.Reader
	io.Writer
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// closePatience is how long closing a stream may take that wants to write for
// that (TLS does), before what is under it is closed.
const closePatience = 100 * time.Millisecond

// past is a deadline that ends what is under way.
var past = time.Unix(1, 0)

// A guarded stream may be the user's: its panics and numbers that cannot be
// become errors. After a panic it is not asked for anything but Close.
type guarded struct {
	s      Stream
	failed atomic.Pointer[PanicError]
}

// guardedStream returns s so that it does not panic: sockets, which package
// batch reads and writes in ways of its own, as they are.
func guardedStream(s Stream) Stream {
	switch s.(type) {
	case *net.TCPConn, *net.UnixConn:
		return s
	}
	return &guarded{s: s}
}

// Read implements [Stream].
func (g *guarded) Read(p []byte) (int, error) {
	return g.move("read", len(p), func() (int, error) { return g.s.Read(p) })
}

// Write implements [Stream].
func (g *guarded) Write(p []byte) (int, error) {
	return g.move("written", len(p), func() (int, error) { return g.s.Write(p) })
}

// SetReadDeadline implements [Stream].
func (g *guarded) SetReadDeadline(t time.Time) error {
	_, err := g.move("", 0, func() (int, error) { return 0, g.s.SetReadDeadline(t) })
	return err
}

// SetWriteDeadline implements [Stream].
func (g *guarded) SetWriteDeadline(t time.Time) error {
	_, err := g.move("", 0, func() (int, error) { return 0, g.s.SetWriteDeadline(t) })
	return err
}

// Close closes the stream for a cause.
func (g *guarded) Close(cause error) error { return closeStream(g.s, cause) }

// move calls a method that moves at most limit bytes.
func (g *guarded) move(what string, limit int, method func() (int, error)) (n int, err error) {
	if p := g.failed.Load(); p != nil {
		return 0, p
	}
	defer func() {
		if x := recover(); x != nil {
			p := &PanicError{Value: x, Stack: debug.Stack()}
			g.failed.Store(p)
			err = p
		}
	}()
	if n, err = method(); n < 0 || n > limit {
		return 0, fmt.Errorf("link: %T tells that it has %s %d of %d bytes", g.s, what, n, limit)
	}
	return n, err
}

// panicked reports whether err is that something of the user's has panicked.
func panicked(err error) bool {
	var p *PanicError
	return errors.As(err, &p)
}

// closeStream closes s, if it can be. It may wait, and does not panic.
func closeStream(s Stream, cause error) (err error) {
	defer caught(&err)
	switch c := s.(type) {
	case interface{ Close(cause error) error }:
		if errors.Is(cause, ErrClosed) {
			cause = nil
		}
		return c.Close(cause)
	case io.Closer:
		return c.Close()
	}
	return nil
}

// closeSoon is closeStream that does not wait long where it is known what is
// under the stream: that is closed then.
func closeSoon(s, under Stream, cause error) error {
	if under != nil {
		defer time.AfterFunc(closePatience, func() { _ = closeStream(under, cause) }).Stop()
		defer closeStream(under, cause) // it may have been left open
	}
	return closeStream(s, cause)
}

// beneath returns what is under a stream, nil if that is not known. bare is
// what OnStream has made it of.
func beneath(s, bare Stream) (under Stream) {
	if !same(s, bare) {
		return bare
	}
	_ = guard(func() error {
		if c, ok := s.(interface{ NetConn() net.Conn }); ok { // a tls.Conn
			under = c.NetConn()
		}
		return nil
	})
	return under
}

// same reports whether a and b are one stream; those that cannot be compared
// are not.
func same(a, b Stream) bool {
	return a == nil && b == nil || a != nil && b != nil && reflect.ValueOf(a).Comparable() && a == b
}

func closable(s Stream) error {
	switch s.(type) {
	case interface{ Close(cause error) error }, interface{ Close() error }:
		return nil
	}
	return fmt.Errorf("link: %T has no method Close() error or Close(cause error) error", s)
}

type connAddresses interface {
	LocalAddr() identity.Address
	RemoteAddr() identity.Address
}

// addresses tells those of a stream, as far as it knows.
func addresses(s Stream) (local, remote string, err error) {
	defer caught(&err)
	switch c := s.(type) {
	case interface {
		LocalAddr() net.Addr
		RemoteAddr() net.Addr
	}:
		return text(c.LocalAddr()), text(c.RemoteAddr()), nil
	case connAddresses:
		return c.LocalAddr().String(), c.RemoteAddr().String(), nil
	}
	return "", "", nil
}

func text(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// originOf returns where a stream comes from, as far as hosts share it: an IPv4
// address, the first half of an IPv6 address. Those that tell nothing are of
// one origin.
func originOf(s Stream) netip.Prefix {
	_, remote, _ := addresses(s) // open tells of errors
	if c, ok := s.(connAddresses); ok && remote != "" {
		remote = c.RemoteAddr().Host
	}
	return origin.Host(origin.Parse(remote))
}
