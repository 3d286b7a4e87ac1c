//go:build !js

package webtransport

import (
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

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A lab is a listener and a transport that dials.
type lab struct {
	ctx    context.Context
	dialer *Transport
	local  conn.Local
	remote conn.Local
	listen conn.Listener
}

func newLab(t *testing.T, config Config) *lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	l := &lab{ctx: ctx, dialer: New(), local: conn.Local{Key: newKey(t)}, remote: conn.Local{Key: newKey(t)}}
	listener := NewWith(config)
	t.Cleanup(func() {
		cancel()
		l.dialer.Close()
		listener.Close()
	})
	var err error
	l.listen, err = listener.Listen(ctx, l.remote, identity.Address{Scheme: scheme, Host: "127.0.0.1:0", Path: "/node"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// connect opens a QUIC connection as any client of HTTP/3 could.
func (l *lab) connect(t *testing.T, config *tls.Config) *quic.Conn {
	t.Helper()
	config.NextProtos = []string{http3.NextProtoH3}
	qc, err := quic.DialAddr(l.ctx, l.listen.Addr().Host, config, quicConfig(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session{quic: qc}.end() })
	return qc
}

func (l *lab) request(t *testing.T, path, origin string) (*http.Response, *wt.Session, error) {
	client, err := new(wt.Transport).NewClientConn(l.connect(t, &tls.Config{InsecureSkipVerify: true}))
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	return client.Dial(l.ctx, "https://"+l.listen.Addr().Host+path, header)
}

func TestRequests(t *testing.T) {
	l := newLab(t, Config{Origins: []string{"*.example.org", "https://one.example.com:8443"}})
	for _, c := range []struct {
		path, origin string
		status       int
	}{
		{"/node", "", 200},
		{"/node?x=1", "", 200},
		{"/", "", 404},
		{"/node", "https://" + l.listen.Addr().Host, 200},
		{"/node", "https://app.example.org", 200},
		{"/node", "https://APP.example.org", 200},
		{"/node", "https://one.example.com:8443", 200},
		{"/node", "http://one.example.com:8443", 403},
		{"/node", "https://example.org", 403},
		{"/node", "https://evil.test", 403},
		{"/node", "null", 403},
	} {
		response, ws, err := l.request(t, c.path, c.origin)
		if response == nil {
			t.Errorf("%s from %q: %v", c.path, c.origin, err)
			continue
		}
		if response.StatusCode != c.status || (err == nil) != (c.status == 200) {
			t.Errorf("%s from %q is answered %d, %v; want %d", c.path, c.origin, response.StatusCode, err, c.status)
		}
		if ws != nil {
			_ = ws.CloseWithError(0, "")
		}
	}
	_, err := l.dialer.Dial(l.ctx, l.local, l.remote.Key.ID(), identity.Address{Scheme: scheme, Host: l.listen.Addr().Host, Path: "/other"})
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a dial of another path: %v; want an error that tells of 404", err)
	}
}

// unbound connects as a browser does and returns both ends.
func (l *lab) unbound(t *testing.T) (out, in *connection) {
	t.Helper()
	to, err := parse(l.listen.Addr())
	if err != nil {
		t.Fatal(err)
	}
	st, err := request(l.ctx, l.connect(t, &tls.Config{InsecureSkipVerify: true}), to)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := secure.Client(l.ctx, st, l.local, l.remote.Key.ID(), identity.Address{}, l.listen.Addr())
	if err != nil {
		t.Fatal(err)
	}
	out, err = bind(l.ctx, inner, st.session, func(rw io.ReadWriter, _ []byte) (bool, error) { return offerBinding(rw, nil) })
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.listen.Accept(l.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return out, accepted.(*connection)
}

// Who cannot show that there is nobody between has the stream alone, at both
// ends: a browser.
func TestUnbound(t *testing.T) {
	l := newLab(t, Config{})
	out, in := l.unbound(t)
	for _, c := range []*connection{out, in} {
		if f := c.Features(); f != (conn.Features{}) {
			t.Errorf("it has the features %+v", f)
		}
		if _, err := c.OpenStream(l.ctx); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("OpenStream = %v", err)
		}
		if _, err := c.AcceptStream(l.ctx); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("AcceptStream = %v", err)
		}
		if _, err := c.ReceiveDatagram(l.ctx); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("ReceiveDatagram = %v", err)
		}
		if err := c.SendDatagram([]byte("x")); !errors.Is(err, errors.ErrUnsupported) || c.MaxDatagram() != 0 {
			t.Errorf("SendDatagram = %v, MaxDatagram = %d", err, c.MaxDatagram())
		}
	}
	if _, err := in.Write([]byte("hi")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 2)); err != nil {
		t.Error(err)
	}
	in.Close(&conn.CloseError{Code: conn.CodeRejected, Reason: "no"})
	wantNoReason(t, out)

	out, in = l.unbound(t) // somebody between makes up a reason
	_ = out.quic.CloseWithError(codeBase+quic.ApplicationErrorCode(conn.CodeRejected), "no")
	wantNoReason(t, in)
	out.Close(nil)
}

func wantNoReason(t *testing.T, c conn.Conn) {
	t.Helper()
	var ce *conn.CloseError
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &ce) && ce.Remote {
		t.Errorf("Read = %v, want an end without a reason of the other side", err)
	}
}

// Whoever stands between the two QUIC connections passes on all of the inner
// layer, and is found out.
func TestSomebodyBetween(t *testing.T) {
	l := newLab(t, Config{})
	between := newMiddle(t, l)
	_, err := l.dialer.Dial(l.ctx, l.local, l.remote.Key.ID(), identity.Address{Scheme: scheme, Host: between, Path: "/node"})
	if err == nil {
		t.Error("the dial succeeded")
	}
	ctx, cancel := context.WithTimeout(l.ctx, 100*time.Millisecond)
	defer cancel()
	if c, err := l.listen.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Accept = %v, %v; want nothing", c, err)
	}
}

// newMiddle returns the address of a server that passes on what it gets over
// sessions of its own.
func newMiddle(t *testing.T, l *lab) string {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificates := &renewal{key: newKey(t)}
	own, err := certificates.current(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := &wt.Server{H3: &http3.Server{TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{*own}})}}
	var work sync.WaitGroup
	server.H3.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := server.Upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		work.Go(func() {
			in, err := ws.AcceptStream(l.ctx)
			if err != nil {
				t.Error(err)
				return
			}
			_, further, err := l.request(t, "/node", "")
			if err != nil {
				t.Error(err)
				return
			}
			out, err := further.OpenStreamSync(l.ctx)
			if err != nil {
				t.Error(err)
				return
			}
			work.Go(func() { _, _ = io.Copy(out, in) })
			_, _ = io.Copy(in, out)
			_ = ws.CloseWithError(0, "")
			_ = further.CloseWithError(0, "")
		})
	})
	work.Go(func() { _ = server.Serve(pc) })
	t.Cleanup(func() {
		server.Close()
		pc.Close()
		work.Wait()
	})
	return pc.LocalAddr().String()
}

// A certificate of the caller's takes the place of ours, and of hashes.
func TestCertificateOfTheCaller(t *testing.T) {
	certificates := &renewal{key: newKey(t)}
	own, err := certificates.current(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{*own}}})
	if a := l.listen.Addr(); a.Path != "/node" {
		t.Errorf("Addr = %s, want no hashes", a)
	}
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	shown := l.connect(t, &tls.Config{InsecureSkipVerify: true}).ConnectionState().TLS.PeerCertificates[0]
	if !shown.Equal(leaf) {
		t.Error("the listener shows another certificate")
	}
	c, err := l.dialer.Dial(l.ctx, l.local, l.remote.Key.ID(), l.listen.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.Close(nil)
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{Origins: []string{"a", ""}}, {Origins: []string{"[a"}}, {TLS: &tls.Config{}}} {
		tr := NewWith(c)
		if _, err := tr.Listen(t.Context(), conn.Local{Key: newKey(t)}, identity.Address{Scheme: scheme, Host: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "Config.") {
			t.Errorf("Listen with %+v: %v, want an error that names the field", c, err)
		}
		tr.Close()
	}
}
