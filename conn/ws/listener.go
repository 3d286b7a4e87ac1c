//go:build !js

package ws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/coder/websocket"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A listener takes the connections of one socket, or of a server of the
// caller's for one path.
//
//	socket ──> Handshakes.Take: [outer TLS] ─> request ─> upgrade ─> conn/secure ─> Accept
//	ServeHTTP ─> upgrade ──> Handshakes.GoFrom: conn/secure ─────────────────────> Accept
type listener struct {
	*secure.Handshakes
	transport *Transport
	local     conn.Local
	net       net.Listener // nil: mounted
	tls       *tls.Config  // nil: no outer TLS of its own
	addr      identity.Address
	path      string // of requests
	loop      sync.WaitGroup
	close     sync.Once
	closeErr  error
}

func (t *Transport) listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	u, err := target(addr)
	if err == nil {
		err = t.wrong
	}
	if err == nil {
		_, err = secure.Config(local.Key, identity.NodeID{})
	}
	if err != nil {
		return nil, err
	}
	l := &listener{Handshakes: secure.NewHandshakes(local.MaxHandshakes), transport: t, local: local, addr: addr, path: u.Path}
	if t.config.Mounted {
		return l, t.mount(l)
	}
	if addr.Scheme == "wss" {
		if l.tls, err = t.listenTLS(); err != nil {
			return nil, err
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	if l.net, err = lc.Listen(ctx, "tcp", addr.Host); err != nil {
		return nil, err
	}
	l.addr = address(addr.Scheme, l.net.Addr(), addr.Path)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		l.net.Close()
		return nil, conn.ErrClosed
	}
	t.listeners[l] = struct{}{}
	l.loop.Go(l.run)
	return l, nil
}

// listenTLS returns the outer TLS of listeners at wss:// addresses.
func (t *Transport) listenTLS() (*tls.Config, error) {
	config := t.config.ListenTLS.Clone()
	if config == nil || len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
		return nil, errors.New("wss needs a certificate: set Config.ListenTLS, or listen at ws:// behind a proxy that has one")
	}
	config.NextProtos = []string{"http/1.1"} // WebSocket is of this version
	return config, nil
}

// mount makes l known to ServeHTTP.
func (t *Transport) mount(l *listener) error {
	if _, port, err := net.SplitHostPort(l.addr.Host); err != nil || port == "0" {
		return errors.New("with Config.Mounted, the address is the one of your HTTP server; it needs its host and port")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return conn.ErrClosed
	}
	for other := range t.listeners {
		if other.path == l.path {
			return fmt.Errorf("another listener has the path %q", l.path)
		}
	}
	t.listeners[l] = struct{}{}
	return nil
}

// ServeHTTP upgrades requests for the path of a listener, with [Config.Mounted];
// others get 404. Bounds on what comes before the upgrade are the server's:
// set its ReadHeaderTimeout. It returns after the upgrade; connections live on
// when the server shuts down, which does not wait for them.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l := t.mountedAt(r.URL.Path)
	if l == nil {
		http.NotFound(w, r)
		return
	}
	h := &mountedWriter{ResponseWriter: w}
	wc, err := l.upgrade(h, r, func() bool { return h.socket.idle() })
	if err != nil {
		return // it has answered
	}
	started := l.GoFrom(h.socket.RemoteAddr(), func(ctx context.Context) (conn.Conn, error) {
		return l.prove(ctx, newStream(wc, h.socket))
	})
	if !started {
		_ = wc.CloseNow() // as the listener does
	}
}

func (t *Transport) mountedAt(path string) *listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.config.Mounted {
		for l := range t.listeners {
			if l.path == path {
				return l
			}
		}
	}
	return nil
}

// run takes connections until Close.
func (l *listener) run() {
	l.Take(l.net, fmt.Sprintf("ws: accept at %s", l.addr), l.shake)
}

// shake takes a new connection through the request to the proof of identities.
// Until the upgrade it may take the handshake timeout, and after it again.
func (l *listener) shake(ctx context.Context, nc net.Conn) (conn.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, l.local.HandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(limited, func() { nc.Close() })
	s := &socket{Conn: nc}
	wc, err := l.answer(limited, s)
	if !stop() && err == nil {
		err = context.Cause(limited)
		_ = wc.CloseNow() // its socket is closed already
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return l.prove(ctx, newStream(wc, s))
}

// prove proves identities over st, or closes it.
func (l *listener) prove(ctx context.Context, st *stream) (conn.Conn, error) {
	return secure.Server(ctx, st, l.local, address(l.addr.Scheme, st.LocalAddr(), l.addr.Path), address(l.addr.Scheme, st.RemoteAddr(), ""))
}

// upgrade answers a request. On an error it has said why to who asked.
func (l *listener) upgrade(w http.ResponseWriter, r *http.Request, idle func() bool) (*websocket.Conn, error) {
	if r.URL.Path != l.path {
		http.NotFound(w, r)
		return nil, errors.New("another path")
	}
	return websocket.Accept(w, r, &websocket.AcceptOptions{
		OriginPatterns:  l.transport.config.Origins,
		CompressionMode: websocket.CompressionDisabled,
		// While this side waits for the peer to read, a pong could not go out:
		// coder/websocket would end the connection for it.
		OnPingReceived: func(context.Context, []byte) bool { return idle() },
	})
}

// Addr returns the address listened on.
func (l *listener) Addr() identity.Address { return l.addr }

// Close stops listening, ends handshakes and waits until they have ended.
func (l *listener) Close() error {
	l.close.Do(func() {
		l.Handshakes.Close() // first, so that Accept does not see the socket's error
		if l.net != nil {
			l.closeErr = l.net.Close()
			l.loop.Wait()
		}
		l.transport.mu.Lock()
		delete(l.transport.listeners, l)
		l.transport.mu.Unlock()
	})
	return l.closeErr
}
