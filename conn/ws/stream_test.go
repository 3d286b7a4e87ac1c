//go:build !js

package ws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

func newKey(t testing.TB) identity.PrivateKey {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newListener returns a listener without a socket.
func newListener(t testing.TB, config Config, path string) *listener {
	t.Helper()
	local := conn.Local{Key: newKey(t)}.WithDefaults()
	return &listener{
		Handshakes: secure.NewHandshakes(local.MaxHandshakes), transport: NewWith(config), local: local,
		addr: identity.Address{Scheme: "ws", Host: "node:1", Path: path}, path: path,
	}
}

// upgraded returns both ends of a WebSocket over nc and the pipe's other end:
// the listener's as a stream.
func upgraded(t testing.TB, l *listener, client, server net.Conn) (*websocket.Conn, *stream) {
	t.Helper()
	done := make(chan *stream, 1)
	go func() {
		s := &socket{Conn: server}
		wc, err := l.answer(context.Background(), s)
		if err != nil {
			t.Error(err)
			done <- nil
			return
		}
		done <- newStream(wc, s)
	}()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
	wc, _, err := websocket.Dial(context.Background(), "ws://node:1"+l.path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Fatal(err)
	}
	wc.SetReadLimit(-1)
	st := <-done
	if st == nil {
		t.FailNow()
	}
	return wc, st
}

// A counted Conn counts writes.
type counted struct {
	net.Conn
	writes atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// What is written in one call is one message and few system calls, at both
// ends: coder/websocket alone would make one of every 4 KiB on the dialling side.
func TestWriteIsOneMessage(t *testing.T) {
	out, in := net.Pipe()
	counting := &counted{Conn: in}
	wc, st := upgraded(t, newListener(t, Config{}, "/"), out, counting)
	defer wc.CloseNow()
	defer st.Close()
	before := counting.writes.Load()
	want := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	go func() {
		if n, err := st.Write(want); n != len(want) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}()
	kind, got, err := wc.Read(context.Background())
	if err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, want) {
		t.Errorf("the other end reads a message of kind %v with %d bytes, %v; want a binary one of %d", kind, len(got), err, len(want))
	}
	if n := counting.writes.Load() - before; n > 3 {
		t.Errorf("%d writes of the socket for one message", n)
	}

	// The dialling side masks, in pieces.
	counting = &counted{Conn: discard{}}
	s := &socket{Conn: counting}
	s.cork()
	for range 48 << 10 / (4 << 10) {
		if _, err := s.Write(want[:4<<10]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.flush(); err != nil || counting.writes.Load() != 1 {
		t.Errorf("48 KiB in pieces of 4 KiB: %d writes, %v; want 1", counting.writes.Load(), err)
	}
}

type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Text is not of the protocol.
func TestTextMessage(t *testing.T) {
	out, in := net.Pipe()
	wc, st := upgraded(t, newListener(t, Config{}, "/"), out, in)
	defer wc.CloseNow()
	defer st.Close()
	go func() { _ = wc.Write(context.Background(), websocket.MessageText, []byte("hi")) }()
	if n, err := st.Read(make([]byte, 8)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %d, %v; want an error", n, err)
	}
}

// What came of a frame before the connection broke is not read: coder/websocket
// hands it over masked.
func TestBrokenFrame(t *testing.T) {
	out, in := net.Pipe()
	wc, st := upgraded(t, newListener(t, Config{}, "/"), out, in)
	defer wc.CloseNow()
	defer st.Close()
	go func() {
		_, _ = out.Write([]byte{0x82, 0x80 | 100, 1, 2, 3, 4, 'h' ^ 1, 'e' ^ 2, 'l' ^ 3, 'l' ^ 4, 'o' ^ 1}) // 5 bytes of 100
		out.Close()
	}()
	if n, err := st.Read(make([]byte, 100)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read = %d, %v; want io.ErrUnexpectedEOF", n, err)
	}
}

// Close tells the other end by a close frame, and waits for nothing; the other
// end's close frame is the end of the stream.
func TestCloseFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, in := net.Pipe()
		wc, st := upgraded(t, newListener(t, Config{}, "/"), out, in)
		read := make(chan error, 1)
		go func() {
			_, _, err := wc.Read(context.Background())
			read <- err
		}()
		synctest.Wait()
		start := time.Now()
		st.Close()
		if took := time.Since(start); took > closePatience {
			t.Errorf("Close took %v", took)
		}
		if err := <-read; websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the other end reads %v, want a close frame with 1000", err)
		}
		_ = wc.CloseNow()

		out, in = net.Pipe()
		wc, st = upgraded(t, newListener(t, Config{}, "/"), out, in)
		go func() { _ = wc.Close(websocket.StatusGoingAway, "") }()
		if _, err := st.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read after a close frame = %v, want io.EOF", err)
		}
		st.Close()
	})
}

// A ping that comes while this side waits for the peer to read does not end the
// connection, as it would with coder/websocket alone: not while it writes, and
// not while the socket does.
func TestPingWhileWriteWaits(t *testing.T) {
	for _, size := range []int{corkSize / 2, 2 * corkSize} {
		synctest.Test(t, func(t *testing.T) {
			out, in := net.Pipe()
			wc, st := upgraded(t, newListener(t, Config{}, "/"), out, in)
			written := make(chan error, 1)
			go func() {
				_, err := st.Write(make([]byte, size))
				written <- err
			}()
			synctest.Wait()
			// A ping by hand: coder/websocket's would wait for the pong.
			if _, err := out.Write([]byte{0x89, 0x80, 0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if _, p, err := wc.Read(context.Background()); err != nil || len(p) != size {
				t.Errorf("the other end reads %d bytes, %v", len(p), err)
			}
			if err := <-written; err != nil {
				t.Errorf("Write = %v", err)
			}
			go func() { _ = wc.Write(context.Background(), websocket.MessageBinary, []byte("x")) }()
			if n, err := st.Read(make([]byte, 8)); n != 1 || err != nil {
				t.Errorf("Read after the ping = %d, %v", n, err)
			}
			_ = wc.CloseNow()
			st.Close()
		})
	}
}

// Bytes that are no WebSocket do no harm, whether they come instead of the
// request or after the upgrade.
func FuzzReceived(f *testing.F) {
	request := "GET / HTTP/1.1\r\nHost: node:1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	f.Add([]byte(request))
	f.Add([]byte(request + "\x82\x83\x01\x02\x03\x04abc\x88\x80\x00\x00\x00\x00"))
	f.Add([]byte(request + "\x89\x80\x00\x00\x00\x00\x02\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00x"))
	f.Add([]byte("GET /other HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.0\r\nContent-Length: 999999999999\r\n\r\n"))
	l := newListener(f, Config{}, "/")
	f.Fuzz(func(t *testing.T, p []byte) {
		nc := &replay{Reader: bytes.NewReader(p)}
		wc, err := l.answer(context.Background(), &socket{Conn: nc})
		if said := nc.said.String(); said != "" && !bytes.HasPrefix([]byte(said), []byte("HTTP/1.1 ")) {
			t.Errorf("the answer is %q", said)
		}
		if err != nil {
			return
		}
		st := newStream(wc, &socket{Conn: nc})
		if _, err := io.Copy(io.Discard, st); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read = %v", err)
		}
		st.Close()
	})
}

// A replay is a connection that says what it is given, and then ends.
type replay struct {
	io.Reader
	net.Conn
	mu   sync.Mutex // guards said
	said bytes.Buffer
}

func (r *replay) Read(p []byte) (int, error) { return r.Reader.Read(p) }

func (r *replay) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.Write(p)
}

func (r *replay) Close() error                     { return nil }
func (r *replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (r *replay) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (r *replay) SetDeadline(time.Time) error      { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }
