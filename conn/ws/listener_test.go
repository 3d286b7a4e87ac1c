//go:build !js

package ws

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A handshake that stalls ends at the handshake timeout, wherever it stalls:
// once for what comes before the upgrade, once again for what comes after.
func TestStalledHandshakeTimesOut(t *testing.T) {
	certificate := anyCertificate(t)
	request := "GET /node HTTP/1.1\r\nHost: node:1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	for _, c := range []struct {
		name  string
		says  string
		tls   bool
		wait  time.Duration // before it says it
		after time.Duration // it ends
	}{
		{name: "before the request", after: 10 * time.Second},
		{name: "in the request", says: request[:50], after: 10 * time.Second},
		{name: "before outer TLS", tls: true, after: 10 * time.Second},
		{name: "after the upgrade", says: request, wait: 7 * time.Second, after: 17 * time.Second},
		{name: "in a message", says: request + "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00x", after: 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newListener(t, Config{}, "/node")
				if c.tls {
					l.tls = &tls.Config{Certificates: []tls.Certificate{certificate}}
				}
				client, server := net.Pipe()
				go func() {
					time.Sleep(c.wait)
					_, _ = io.WriteString(client, c.says)
					_, _ = io.Copy(io.Discard, client)
				}()
				start := time.Now()
				got, err := l.shake(context.Background(), server)
				if took := time.Since(start).Truncate(time.Second); err == nil || took != c.after {
					t.Errorf("after %v: %v, %v; want an error after %v", took, got, err, c.after)
				}
				client.Close()
			})
		})
	}
}

// The header of a request is bounded.
func TestHeaderIsBounded(t *testing.T) {
	l := newListener(t, Config{}, "/")
	client, server := net.Pipe()
	defer client.Close()
	sent := make(chan int, 1)
	go func() {
		n, _ := io.WriteString(client, "GET / HTTP/1.1\r\n")
		line := "X: " + strings.Repeat("a", 100) + "\r\n"
		for {
			m, err := io.WriteString(client, line)
			if n += m; err != nil {
				sent <- n
				return
			}
		}
	}()
	if _, err := l.shake(context.Background(), server); err == nil {
		t.Error("the request was taken")
	}
	if n := <-sent; n > 2*maxHeader {
		t.Errorf("%d bytes of a header were read, want at most about %d", n, maxHeader)
	}
}

func anyCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
