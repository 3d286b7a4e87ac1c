//go:build !js

package ws_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/identity"
)

// A site is a transport whose listeners are mounted in HTTP servers.
type site struct{ *ws.Transport }

// Listen starts a server at addr and mounts the transport in it.
func (s site) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	if addr.Host == "" || addr.Scheme != "ws" {
		return s.Transport.Listen(ctx, local, addr)
	}
	nl, err := net.Listen("tcp", addr.Host)
	if err != nil {
		return nil, err
	}
	addr.Host = nl.Addr().String()
	l, err := s.Transport.Listen(ctx, local, addr)
	if err != nil {
		nl.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/plexus/", s)
	v := &visited{Listener: l, server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 100 * time.Millisecond, WriteTimeout: 100 * time.Millisecond}}
	v.work.Go(func() { _ = v.server.Serve(nl) })
	return v, nil
}

// A visited listener closes its server, too.
type visited struct {
	conn.Listener
	server *http.Server
	work   sync.WaitGroup
	close  sync.Once
}

func (v *visited) Close() error {
	v.close.Do(func() {
		v.server.Close()
		v.work.Wait()
	})
	return v.Listener.Close()
}

// Mounted in the caller's server, a transport is what it is with its own
// sockets; the server's time-outs do not reach into connections.
func TestConformanceMounted(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		listener := site{ws.NewWith(ws.Config{Mounted: true})}
		p := pair(t, "ws", ws.New(), nil)
		p.Listener = listener
		return p
	})
}

// answered returns the status of the answer to what is sent raw.
func answered(t *testing.T, to identity.Address, request string) int {
	t.Helper()
	c := dialRaw(t, to)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("%.20q: %v", request, err)
		return 0
	}
	return response.StatusCode
}

func TestRequests(t *testing.T) {
	for _, mounted := range []bool{false, true} {
		tr := ws.NewWith(ws.Config{Mounted: mounted, Origins: []string{"*.example.org", "https://one.example.com:8443"}})
		defer tr.Close()
		local := conn.Local{Key: newKey(t)}
		var listener conn.Transport = tr
		if mounted {
			listener = site{tr}
		}
		l, err := listener.Listen(t.Context(), local, identity.Address{Scheme: "ws", Host: "127.0.0.1:0", Path: "/plexus/node"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := l.Addr()
		other := at
		other.Path = "/plexus/other"
		for _, c := range []struct {
			name, request string
			status        int
		}{
			{"no browser", upgradeRequest(at, ""), 101},
			{"a page of this host", upgradeRequest(at, "http://"+at.Host), 101},
			{"an allowed page", upgradeRequest(at, "https://app.example.org"), 101},
			{"an allowed page with scheme", upgradeRequest(at, "https://one.example.com:8443"), 101},
			{"the same with another scheme", upgradeRequest(at, "http://one.example.com:8443"), 403},
			{"another page", upgradeRequest(at, "https://evil.test"), 403},
			{"a page of nowhere", upgradeRequest(at, "null"), 403},
			{"another path", upgradeRequest(other, ""), 404},
			{"no upgrade", "GET /plexus/node HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 426},
		} {
			if got := answered(t, at, c.request); got != c.status {
				t.Errorf("mounted %t: %s is answered %d, want %d", mounted, c.name, got, c.status)
			}
		}
		if _, err := tr.Dial(t.Context(), local, local.Key.ID(), other); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("mounted %t: a dial of another path: %v; want an error that tells of 404", mounted, err)
		}
	}
}

// Redirects are not followed: a node's address is where it is.
func TestRedirect(t *testing.T) {
	tr := ws.New()
	defer tr.Close()
	local := conn.Local{Key: newKey(t)}
	l, err := tr.Listen(t.Context(), local, identity.Address{Scheme: "ws", Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.RedirectHandler("http://"+l.Addr().Host+"/", http.StatusTemporaryRedirect)}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(nl) })
	defer work.Wait()
	defer server.Close()
	if c, err := tr.Dial(t.Context(), local, local.Key.ID(), identity.Address{Scheme: "ws", Host: nl.Addr().String()}); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("Dial = %v, %v; want an error that tells of 307", c, err)
	}
}

// The outer certificate of wss is checked by the rules of the dialling side.
func TestOuterCertificate(t *testing.T) {
	certificate, _ := authority(t)
	tr := ws.NewWith(ws.Config{ListenTLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	defer tr.Close()
	local := conn.Local{Key: newKey(t)}
	l, err := tr.Listen(t.Context(), local, identity.Address{Scheme: "wss", Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := tr.Dial(t.Context(), local, local.Key.ID(), l.Addr()); !errors.As(err, &unknown) {
		t.Errorf("a dial by the system's roots: %v; want an unknown authority", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	local := conn.Local{Key: newKey(t)}
	for _, c := range []struct {
		config ws.Config
		at     identity.Address
		want   string
	}{
		{ws.Config{Origins: []string{"a", ""}}, identity.Address{Scheme: "ws", Host: "127.0.0.1:0"}, "Config.Origins"},
		{ws.Config{Origins: []string{"[a"}}, identity.Address{Scheme: "ws", Host: "127.0.0.1:0"}, "Config.Origins"},
		{ws.Config{}, identity.Address{Scheme: "wss", Host: "127.0.0.1:0"}, "Config.ListenTLS"},
		{ws.Config{ListenTLS: &tls.Config{}}, identity.Address{Scheme: "wss", Host: "127.0.0.1:0"}, "Config.ListenTLS"},
		{ws.Config{Mounted: true}, identity.Address{Scheme: "wss", Host: "127.0.0.1:0"}, "Config.Mounted"},
		{ws.Config{}, identity.Address{Scheme: "ws", Host: "127.0.0.1:0", Path: "/%zz"}, "not one of HTTP"},
	} {
		tr := ws.NewWith(c.config)
		if l, err := tr.Listen(t.Context(), local, c.at); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Listen with %+v at %s: %v, %v; want an error that names %s", c.config, c.at, l, err, c.want)
		}
		tr.Close()
	}
	tr := ws.NewWith(ws.Config{Mounted: true})
	defer tr.Close()
	at := identity.Address{Scheme: "wss", Host: "node.example.org:443"}
	if _, err := tr.Listen(t.Context(), local, at); err != nil {
		t.Fatal(err)
	}
	at.Path = "/"
	if _, err := tr.Listen(t.Context(), local, at); err == nil || !strings.Contains(err.Error(), "another listener") {
		t.Errorf("two listeners at one path: %v", err)
	}
}
