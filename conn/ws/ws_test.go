//go:build !js

package ws_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		return pair(t, "ws", ws.New(), ws.New())
	})
}

func TestConformanceOverTLS(t *testing.T) {
	certificate, roots := authority(t)
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		return pair(t, "wss",
			ws.NewWith(ws.Config{DialTLS: &tls.Config{RootCAs: roots}}),
			ws.NewWith(ws.Config{ListenTLS: &tls.Config{Certificates: []tls.Certificate{certificate}}}))
	})
}

func pair(t *testing.T, scheme string, dialer, listener *ws.Transport) conntest.Pair {
	at := func(host string) identity.Address {
		return identity.Address{Scheme: scheme, Host: host, Path: "/plexus/v1"}
	}
	return conntest.Pair{
		Dialer: dialer, Listener: listener, At: at("127.0.0.1:0"),
		Refused: at(refused(t)), Silent: at(silent(t)),
		Garbage: func(t *testing.T, to identity.Address, p []byte) {
			c := dialRaw(t, to)
			if _, err := c.Write(p); err != nil {
				t.Error(err)
			}
			c.Close()
		},
		Stalled: stall(scheme), Sockets: "tcp",
	}
}

// stall returns a Stalled that stops at another place each time: before the
// request, in it, and after the upgrade.
func stall(scheme string) func(t *testing.T, to identity.Address) {
	var count atomic.Int32
	return func(t *testing.T, to identity.Address) {
		c := dialRaw(t, to)
		if c == nil || scheme == "wss" {
			return
		}
		request := upgradeRequest(to, "")
		switch count.Add(1) % 3 {
		case 1:
			request = request[:len(request)/2]
		case 2:
			return
		}
		if _, err := io.WriteString(c, request); err != nil {
			t.Error(err)
		}
		if strings.HasSuffix(request, "\r\n\r\n") {
			// It takes its place with the upgrade: not any time later.
			_, _ = c.Read(make([]byte, 1)) // or has been given up already
		}
	}
}

// upgradeRequest returns what a browser on a page of the origin would send.
func upgradeRequest(to identity.Address, origin string) string {
	s := "GET " + to.Path + " HTTP/1.1\r\nHost: " + to.Host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	if origin != "" {
		s += "Origin: " + origin + "\r\n"
	}
	return s + "\r\n"
}

func dialRaw(t *testing.T, to identity.Address) net.Conn {
	c, err := net.Dial("tcp", to.Host)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// silent listens in the kernel only.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func refused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

// authority returns a certificate for 127.0.0.1 and the roots that vouch for it.
func authority(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
