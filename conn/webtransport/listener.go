//go:build !js

package webtransport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/quicgo"
	"github.com/plexus-net/plexus/internal/udp"
)

// A listener takes the incoming connections of one socket.
//
//	quic-go ─> Handshakes.GoFrom: QUIC ─> request ─> session, stream ─> conn/secure ─> binding ─> Accept
type listener struct {
	*secure.Handshakes
	socket    *socket
	local     conn.Local
	to        target
	renewal   *renewal // nil: the caller has a certificate
	quic      *quic.EarlyListener
	greetings quicgo.Greetings
	loop      sync.WaitGroup
	close     sync.Once
}

func (t *Transport) listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	to, err := t.check(local.Key, identity.NodeID{}, addr)
	if err != nil {
		return nil, err
	}
	l := &listener{Handshakes: secure.NewHandshakes(local.MaxHandshakes), local: local, to: to}
	outer := t.config.TLS
	if outer == nil {
		l.renewal = &renewal{key: local.Key}
		if _, err := l.renewal.hashes(time.Now()); err != nil {
			return nil, err
		}
		outer = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.renewal.current(time.Now()) }}
	}
	if l.socket, err = t.listenSocket(ctx, to.host); err != nil {
		return nil, err
	}
	// Early connections, since these can be closed while they shake hands.
	l.quic, err = l.socket.quic.ListenEarly(http3.ConfigureTLSConfig(outer), quicConfig(local.HandshakeTimeout))
	if err != nil {
		l.socket.release()
		return nil, err
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		l.quic.Close()
		l.socket.release()
		return nil, conn.ErrClosed
	}
	l.socket.listener = l
	l.loop.Go(l.run)
	t.mu.Unlock()
	return l, nil
}

// run takes connections until Close.
func (l *listener) run() {
	for {
		qc, err := l.quic.Accept(context.Background())
		if err != nil { // closed, or the socket failed for good
			l.Fail(fmt.Errorf("webtransport: accept at %s: %w", l.Addr(), err), l.Done())
			return
		}
		quicgo.Said(qc.Context())
		if !l.GoFrom(qc.RemoteAddr(), func(ctx context.Context) (conn.Conn, error) { return l.shake(ctx, qc) }) {
			session{quic: qc}.end()
		}
	}
}

// shake takes a connection from QUIC's handshake to the binding of the layers,
// within the handshake timeout, or ends it.
func (l *listener) shake(ctx context.Context, qc *quic.Conn) (conn.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.local.HandshakeTimeout)
	defer cancel()
	st, err := l.receive(ctx, qc)
	if err != nil {
		session{quic: qc}.end()
		return nil, err
	}
	addr := identity.Address{Scheme: scheme, Host: udp.HostPort(qc.RemoteAddr())}
	inner, err := secure.Server(ctx, st, l.local, l.Addr(), addr)
	if err != nil {
		return nil, err
	}
	c, err := bind(ctx, inner, st.session, answerBinding)
	if err != nil {
		return nil, err
	}
	return c, l.socket.keep(c)
}

// receive serves HTTP/3 on a connection and waits for the one session that it
// may have, and for the first stream of that.
func (l *listener) receive(ctx context.Context, qc *quic.Conn) (*stream, error) {
	sessions := make(chan *wt.Session, 1)
	server := &wt.Server{
		H3:          &http3.Server{MaxHeaderBytes: maxHeader, Logger: slog.New(slog.DiscardHandler)},
		CheckOrigin: func(*http.Request) bool { return true }, // serve has checked it
	}
	server.H3.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(server, sessions, w, r) })
	l.socket.transport.work.Go(func() { _ = server.ServeQUICConn(qc) }) // ends with qc
	select {
	case ws := <-sessions:
		st, err := ws.AcceptStream(ctx)
		if err != nil {
			return nil, err
		}
		return &stream{Stream: st, session: session{Session: ws, quic: qc}}, nil
	case <-qc.Context().Done():
		return nil, context.Cause(qc.Context())
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// serve answers a request.
func (l *listener) serve(server *wt.Server, sessions chan<- *wt.Session, w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != l.to.url.Path:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodConnect:
		http.Error(w, "this is a node of plexus, for WebTransport", http.StatusMethodNotAllowed)
		return
	case !l.socket.transport.config.allows(r.Header.Get("Origin"), r.Host):
		http.Error(w, "pages of this origin may not connect; see Config.Origins", http.StatusForbidden)
		return
	}
	ws, err := server.Upgrade(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case sessions <- ws:
	default: // there was one; webtransport-go does not let it come so far
		_ = ws.CloseWithError(0, "")
	}
}

// Addr returns the address listened on, with the hashes of certificates.
func (l *listener) Addr() identity.Address {
	host := udp.HostPort(l.socket.addr)
	if l.renewal == nil {
		return l.to.address(host)
	}
	both, err := l.renewal.hashes(time.Now())
	if err != nil { // it has worked in listen; a key for another period always can be made
		both = nil
	}
	return l.to.address(host, both...)
}

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
