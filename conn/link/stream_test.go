package link_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// A badStream panics in one of its methods, once it is armed.
type badStream struct {
	net.Conn
	method string
	armed  *atomic.Bool
}

func (s badStream) boom(method string) {
	if s.method == method && s.armed.Load() {
		panic("boom")
	}
}

func (s badStream) Read(p []byte) (int, error)  { s.boom("Read"); return s.Conn.Read(p) }
func (s badStream) Write(p []byte) (int, error) { s.boom("Write"); return s.Conn.Write(p) }
func (s badStream) SetReadDeadline(t time.Time) error {
	s.boom("SetReadDeadline")
	return s.Conn.SetReadDeadline(t)
}
func (s badStream) SetWriteDeadline(t time.Time) error {
	s.boom("SetWriteDeadline")
	return s.Conn.SetWriteDeadline(t)
}
func (s badStream) Close() error               { s.boom("Close"); return s.Conn.Close() }
func (s badStream) LocalAddr() net.Addr        { s.boom("LocalAddr"); return s.Conn.LocalAddr() }
func (s badStream) receive(x *bytesLink) error { _, err := x.Recv(noContext); return err }
func (s badStream) send(x *bytesLink) error {
	_ = x.Send(noContext, []byte("a"))
	return x.Flush(noContext)
}
func (s badStream) try(x *bytesLink) (err error) {
	for err == nil {
		_, _, err = x.TryRecv()
	}
	return err
}

type bytesLink = link.Link[[]byte, []byte]

func wantPanic(t *testing.T, err error) {
	t.Helper()
	var p *link.PanicError
	if !errors.As(err, &p) || p.Value != "boom" || len(p.Stack) == 0 {
		t.Errorf("got %v, want a PanicError", err)
	}
}

// A stream that panics, whether the link was made of it or OnStream has
// returned it, ends its link and nothing else, on whichever goroutine that is.
func TestStreamPanics(t *testing.T) {
	soon := func(x *bytesLink) error {
		ctx, stop := context.WithTimeout(noContext, time.Hour)
		defer stop()
		_, err := x.Recv(ctx)
		return err
	}
	interrupted := func(x *bytesLink) error {
		ctx, stop := context.WithCancel(noContext)
		time.AfterFunc(time.Second, stop)
		_, err := x.Recv(ctx)
		return err
	}
	for name, c := range map[string]struct {
		method string
		use    func(badStream, *bytesLink) error
	}{
		"Read":                          {"Read", badStream.receive},
		"Read, of TryRecv":              {"Read", badStream.try},
		"Write":                         {"Write", badStream.send},
		"SetWriteDeadline":              {"SetWriteDeadline", badStream.send},
		"SetReadDeadline":               {"SetReadDeadline", func(_ badStream, x *bytesLink) error { return soon(x) }},
		"SetReadDeadline, of TryRecv":   {"SetReadDeadline", func(s badStream, x *bytesLink) error { _ = soon(x); return s.try(x) }},
		"SetReadDeadline, to interrupt": {"SetReadDeadline", func(_ badStream, x *bytesLink) error { return interrupted(x) }},
		"Close":                         {"Close", func(_ badStream, x *bytesLink) error { return x.Close() }},
	} {
		for _, wrapped := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b := net.Pipe()
					defer b.Close()
					defer a.Close()
					bad := badStream{a, c.method, &atomic.Bool{}}
					stream, config := link.Stream(bad), bytesConfig{WriteTimeout: time.Hour, CloseTimeout: time.Second}
					if wrapped {
						stream = a
						config.Hooks = func() link.Hooks[[]byte, []byte] {
							return link.Hooks[[]byte, []byte]{OnStream: func(context.Context, link.Stream, bool) (link.Stream, error) { return bad, nil }}
						}
					}
					x, err := link.New(noContext, stream, true, config)
					must(t, err)
					bad.armed.Store(true)
					wantPanic(t, c.use(bad, x))
					<-x.Done()
					wantPanic(t, x.Close())
				})
			})
		}
	}
}

// Before there is a link, too, a stream that panics fails the login alone.
func TestStreamPanicsAtLogin(t *testing.T) {
	hooks := func(f func(context.Context, link.Stream) error) bytesConfig {
		return bytesConfig{Hooks: func() link.Hooks[[]byte, []byte] {
			return link.Hooks[[]byte, []byte]{OnStream: func(ctx context.Context, s link.Stream, _ bool) (link.Stream, error) { return s, f(ctx, s) }}
		}}
	}
	for name, c := range map[string]struct {
		method string
		config func(*atomic.Bool) bytesConfig
	}{
		"LocalAddr":       {"LocalAddr", func(armed *atomic.Bool) bytesConfig { armed.Store(true); return bytesConfig{} }},
		"SetReadDeadline": {"SetReadDeadline", func(armed *atomic.Bool) bytesConfig { armed.Store(true); return hooks(nil) }},
		"Close": {"Close", func(armed *atomic.Bool) bytesConfig {
			armed.Store(true)
			return hooks(func(context.Context, link.Stream) error { panic("boom") })
		}},
		"SetReadDeadline, at the end": {"SetReadDeadline", func(armed *atomic.Bool) bytesConfig {
			return hooks(func(ctx context.Context, s link.Stream) error {
				armed.Store(true)
				_, err := s.Read(make([]byte, 1)) // until ctx ends
				return err
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				defer b.Close()
				defer a.Close()
				armed, start := &atomic.Bool{}, time.Now()
				ctx, stop := context.WithCancel(noContext)
				defer stop()
				time.AfterFunc(time.Second, stop)
				_, err := link.New(ctx, badStream{a, c.method, armed}, true, c.config(armed))
				wantPanic(t, err)
				if d := time.Since(start); d > time.Second {
					t.Errorf("it ended after %v, with LoginTimeout, not with its ctx", d)
				}
			})
		})
	}
}

// A lyingStream tells that it has moved other numbers of bytes than it has.
type lyingStream struct {
	net.Conn
	n int
}

func (s lyingStream) Read(p []byte) (int, error)  { return s.n, nil }
func (s lyingStream) Write(p []byte) (int, error) { return s.n, nil }

// Numbers of bytes that cannot be are an error of the stream.
func TestStreamLies(t *testing.T) {
	for _, n := range []int{-1, 1 << 30} {
		for name, use := range map[string]func(*bytesLink) error{
			"Recv":    func(x *bytesLink) error { _, err := x.Recv(noContext); return err },
			"TryRecv": func(x *bytesLink) error { return badStream{}.try(x) },
			"Send": func(x *bytesLink) error { // a large one, which is written in pieces
				_ = x.Send(noContext, make([]byte, 100<<10))
				return x.Flush(noContext)
			},
		} {
			a, b := net.Pipe()
			x, err := link.New(noContext, lyingStream{a, n}, true, bytesConfig{})
			must(t, err)
			if err := use(x); err == nil || !strings.Contains(err.Error(), "bytes") {
				t.Errorf("%s with %d: %v, want what the stream did", name, n, err)
			}
			_ = x.Close()
			b.Close()
		}
	}
}

// overTLS returns the hooks of one side that puts TLS over its stream.
func overTLS(t *testing.T) (client, server func(net.Conn) *tls.Conn) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	config := &tls.Config{InsecureSkipVerify: true, SessionTicketsDisabled: true, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return func(c net.Conn) *tls.Conn { return tls.Client(c, config) }, func(c net.Conn) *tls.Conn { return tls.Server(c, config) }
}

// Abort does not wait for a peer that does not read, which TLS tells of the end,
// and Close does not for long; who receives learns of it at once.
func TestAbortDoesNotWait(t *testing.T) {
	client, server := overTLS(t)
	shaken := func(make func(net.Conn) *tls.Conn) bytesConfig {
		return bytesConfig{Hooks: func() link.Hooks[[]byte, []byte] {
			return link.Hooks[[]byte, []byte]{OnStream: func(ctx context.Context, s link.Stream, _ bool) (link.Stream, error) {
				c := make(s.(net.Conn))
				return c, c.HandshakeContext(ctx)
			}}
		}}
	}
	for name, wrap := range map[string]bool{"of OnStream": true, "from the start": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				x, y := (*bytesLink)(nil), (*bytesLink)(nil)
				if wrap {
					x, y = linkOver(t, a, b, shaken(client), shaken(server))
				} else {
					c, s := client(a), server(b)
					go func() { must(t, s.HandshakeContext(noContext)) }()
					must(t, c.HandshakeContext(noContext))
					x, y = linkOver(t, c, s, bytesConfig{}, bytesConfig{})
				}
				why, start := errors.New("why"), time.Now()
				received := make(chan time.Duration)
				go func() {
					if _, err := x.Recv(noContext); err != why {
						t.Errorf("Recv: %v, want the cause", err)
					}
					received <- time.Since(start)
				}()
				synctest.Wait()
				x.Abort(why)
				if d := time.Since(start); d != 0 {
					t.Errorf("Abort took %v", d)
				}
				if d := <-received; d != 0 {
					t.Errorf("Recv ended after %v", d)
				}
				if err := x.Close(); err != why || time.Since(start) > 100*time.Millisecond {
					t.Errorf("Close: %v after %v, want the cause after a tenth of a second", err, time.Since(start))
				}
				if _, err := y.Recv(noContext); err == nil {
					t.Error("the stream is left open")
				}
				_ = y.Close()
			})
		})
	}
}

// What TLS says last reaches a peer that takes its time to read.
func TestCloseOverTLS(t *testing.T) {
	client, server := overTLS(t)
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		x, y := linkOver(t, client(a), server(b), bytesConfig{}, bytesConfig{})
		must(t, x.Send(noContext, []byte("last")))
		start, closed := time.Now(), make(chan time.Duration)
		go func() { must(t, x.Close()); closed <- time.Since(start) }()
		if v, err := y.Recv(noContext); string(v) != "last" || err != nil {
			t.Errorf("received %q, %v", v, err)
		}
		time.Sleep(50 * time.Millisecond)
		if _, err := y.Recv(noContext); err != io.EOF {
			t.Errorf("the end: %v, want io.EOF", err)
		}
		if d := <-closed; d != 50*time.Millisecond {
			t.Errorf("Close returned after %v, want when the other side had read the end", d)
		}
		must(t, y.Close())
	})
}
