package quic

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/quicgo"
)

// acceptors is how many goroutines take connections from quic-go. It refuses
// those for which nobody waits while 32 do: under load, one goroutine alone may
// come too late for a burst.
const acceptors = 32

// A listener takes the incoming connections of one socket.
type listener struct {
	*secure.Handshakes
	socket    *socket
	local     conn.Local
	quic      *quic.EarlyListener
	greetings quicgo.Greetings
	loop      sync.WaitGroup
	close     sync.Once
}

func (t *Transport) listen(ctx context.Context, local conn.Local, addr identity.Address) (*listener, error) {
	if t.wrong != nil {
		return nil, t.wrong
	}
	host, err := hostPort(addr)
	if err != nil {
		return nil, err
	}
	tls, err := secure.Config(local.Key, identity.NodeID{})
	if err != nil {
		return nil, err
	}
	s, err := t.listeningSocket(ctx, host, local.Key)
	if err != nil {
		return nil, err
	}
	l := &listener{Handshakes: secure.NewHandshakes(local.MaxHandshakes), socket: s, local: local}
	// Early connections, since these can be closed while they shake hands.
	l.quic, err = s.quic.ListenEarly(tls, t.config.quic(local))
	if err != nil {
		s.release()
		return nil, err
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		l.quic.Close()
		s.release()
		return nil, conn.ErrClosed
	}
	s.listener = l
	for range acceptors {
		l.loop.Go(l.run)
	}
	t.mu.Unlock()
	return l, nil
}

// listeningSocket returns a socket at host, with one more user: one that is
// still there from a listener that has closed, or a new one.
func (t *Transport) listeningSocket(ctx context.Context, host string, key identity.PrivateKey) (*socket, error) {
	if t.config.PacketConn != nil {
		return t.listenOnOwn(key)
	}
	if s := t.formerSocket(host); s != nil {
		return s, nil
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", host)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		pc.Close()
		return nil, conn.ErrClosed
	}
	s := t.newSocket(pc, resetKey(key))
	s.users++
	return s, nil
}

// listenOnOwn returns the socket over Config.PacketConn, with one more user.
func (t *Transport) listenOnOwn(key identity.PrivateKey) (*socket, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, conn.ErrClosed
	}
	s := t.ownSocket(key)
	switch {
	case s == nil:
		return nil, errors.New("Config.PacketConn was left by Rebind")
	case s.listener != nil:
		return nil, errors.New("Config.PacketConn is listened on already")
	}
	s.users++
	return s, nil
}

// resetKey derives from a node's key the secret that its stateless resets are
// made with: the same after a restart, and known to nobody else.
func resetKey(key identity.PrivateKey) *quic.StatelessResetKey {
	secret := quic.StatelessResetKey(sha256.Sum256(key.Sign([]byte("plexus/quic/stateless-reset/v1"))))
	return &secret
}

// formerSocket returns the socket that a closed listener has left at host to
// its connections, with one more user, or nil.
func (t *Transport) formerSocket(host string) *socket {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sockets {
		if s.addr != nil && s.addr.String() == host && s.users > 0 && s.listener == nil && !s.shared && !t.closed {
			s.users++
			return s
		}
	}
	return nil
}

// run takes connections until Close.
func (l *listener) run() {
	for {
		qc, err := l.quic.Accept(context.Background())
		if err != nil { // closed, or the socket failed for good
			l.Fail(fmt.Errorf("quic: accept at %s: %w", l.Addr(), err), l.Done())
			return
		}
		quicgo.Said(qc.Context())
		if !l.GoFrom(qc.RemoteAddr(), func(ctx context.Context) (conn.Conn, error) { return l.handle(ctx, qc) }) {
			_ = qc.CloseWithError(quic.ApplicationErrorCode(conn.CodeShutdown), "") // closing anyway
		}
	}
}

// handle waits for the end of a handshake.
func (l *listener) handle(ctx context.Context, qc *quic.Conn) (conn.Conn, error) {
	select {
	case <-qc.HandshakeComplete():
		return l.socket.newConn(qc, l.local.Key.ID(), nil)
	case <-qc.Context().Done():
		return nil, context.Cause(qc.Context())
	case <-ctx.Done():
		ce := conn.AsCloseError(context.Cause(ctx))
		_ = qc.CloseWithError(quic.ApplicationErrorCode(ce.Code), ce.Reason) // it is given up
		return nil, ce
	}
}

// Addr returns the address listened on.
func (l *listener) Addr() identity.Address { return l.socket.at }

// Close stops listening, ends handshakes and waits until they have ended.
func (l *listener) Close() error {
	var err error
	l.close.Do(func() {
		t := l.socket.transport
		t.mu.Lock()
		l.socket.listener = nil
		t.mu.Unlock()
		l.Handshakes.Close() // first, so that Accept does not see quic-go's error
		if err = l.quic.Close(); errors.Is(err, quic.ErrServerClosed) {
			err = nil
		}
		l.loop.Wait()
		l.socket.release()
	})
	return err
}
