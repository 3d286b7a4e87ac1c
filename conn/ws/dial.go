//go:build !js

package ws

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// keepAlive lets the kernel find out about dead peers within a minute, where
// nothing above does so earlier.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3}

// maxHeader bounds the header of a request or response, in bytes.
const maxHeader = 16 << 10

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	u, err := target(addr)
	if err == nil {
		err = t.wrong
	}
	if err == nil {
		_, err = secure.Config(local.Key, peer)
	}
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	p := plug{dialer: net.Dialer{KeepAliveConfig: keepAlive}}
	wc, _, err := websocket.Dial(limited, u.String(), &websocket.DialOptions{
		HTTPClient:      t.client(&p),
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  func(context.Context, []byte) bool { return p.socket.idle() },
	})
	if err != nil {
		p.pull()
		return nil, err
	}
	s := p.socket
	return secure.Client(ctx, newStream(wc, s), local, peer, address(addr.Scheme, s.LocalAddr(), ""), address(addr.Scheme, s.RemoteAddr(), addr.Path))
}

// client returns an HTTP client for one request through p.
func (t *Transport) client(p *plug) *http.Client {
	config := t.config.DialTLS.Clone() // nil stays nil
	if config == nil {
		config = &tls.Config{}
	}
	config.NextProtos = []string{"http/1.1"} // WebSocket is of this version
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        config,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeader,
			DialContext:            p.dial,
		},
	}
}

// A plug makes the socket of a dial, and can pull it: package net/http leaves a
// handshake of outer TLS alone whose request has been given up.
type plug struct {
	dialer net.Dialer
	mu     sync.Mutex // guards what follows
	pulled bool
	socket *socket // read without mu once the dial has succeeded
}

func (p *plug) dial(ctx context.Context, network, host string) (net.Conn, error) {
	nc, err := p.dialer.DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulled {
		nc.Close()
		return nil, net.ErrClosed
	}
	p.socket = &socket{Conn: nc} // there is one, for one request without redirects
	return p.socket, nil
}

// pull closes the socket, now or as soon as there is one.
func (p *plug) pull() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pulled = true
	if p.socket != nil {
		p.socket.Close()
	}
}

func address(scheme string, a net.Addr, path string) identity.Address {
	return identity.Address{Scheme: scheme, Host: a.String(), Path: path}
}
