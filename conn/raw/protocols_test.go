package raw_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// Values with some of the protocols only.
type (
	onlyMessages struct{ got chan string }
	onlyDecoder  struct{}
	onlyEncoder  struct{}
)

func (o onlyMessages) OnMessage(_ context.Context, _ *raw.Conn, msg []byte) { o.got <- string(msg) }
func (onlyDecoder) NewDecoder(raw.Info) raw.Decoder                         { return wire{} }
func (onlyEncoder) NewEncoder(raw.Info) raw.Encoder                         { return wire{} }

func TestAnySubsetOfTheProtocolsWorks(t *testing.T) {
	t.Run("nothing: what comes is read and discarded", func(t *testing.T) {
		a, addr := listen(t, nil, raw.Config{})
		b := start(t, nil, raw.Config{})
		c := connect(t, b, addr)
		if err := c.Send([]byte("bytes as they are")); err != nil {
			t.Fatal(err)
		}
		until(t, "they are read", func() bool { return a.Stats().BytesReceived == 17 })
		c.Disconnect(nil)
		until(t, "the end is noticed", func() bool { return a.NumConnected() == 0 })
	})
	t.Run("messages without a decoder are what was read", func(t *testing.T) {
		got := make(chan string, 1)
		_, addr := listen(t, onlyMessages{got}, raw.Config{})
		c := connect(t, start(t, onlyEncoder{}, raw.Config{}), addr)
		if err := c.Send([]byte("hi")); err != nil {
			t.Fatal(err)
		}
		if m := wait(t, got, "the bytes"); m != "\x00\x02hi" {
			t.Errorf("got %q", m)
		}
	})
	t.Run("a decoder alone decodes and counts", func(t *testing.T) {
		a, addr := listen(t, onlyDecoder{}, raw.Config{})
		c := connect(t, start(t, nil, raw.Config{}), addr)
		if err := c.Send(append(frame("one"), frame("two")...)); err != nil {
			t.Fatal(err)
		}
		until(t, "both are decoded", func() bool { return a.Stats().MessagesReceived == 2 })
	})
}

func TestWhatIsNotTheProtocolEndsTheConnection(t *testing.T) {
	for _, tt := range []struct {
		name   string
		send   []byte
		origin raw.Origin
		err    error
	}{
		{"message that the decoder refuses", []byte("\xff\xff"), raw.Decode, errBad},
		{"message above MaxFrame that arrives whole", frame(string(make([]byte, 100))), raw.Decode, raw.ErrFrameTooLarge},
		{"message above MaxFrame that never ends", []byte("\xf0\x00"), raw.Decode, raw.ErrFrameTooLarge},
		{"end in the middle of a message", []byte("\x00\x05abc"), raw.Peer, io.ErrUnexpectedEOF},
		{"end between messages", frame("abc"), raw.Peer, io.EOF},
		{"end at once", nil, raw.Peer, io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			why := make(chan *raw.EndError, 1)
			a, addr := listen(t, &hooks{disconnect: func(_ context.Context, _ *raw.Conn, e *raw.EndError) { why <- e }}, raw.Config{MaxFrame: 64})
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write(tt.send)
			if tt.name == "message above MaxFrame that never ends" {
				_, _ = c.Write(make([]byte, 64)) // it may be refused by then
			}
			if tt.origin == raw.Peer {
				c.Close()
			}
			if e := wait(t, why, "the end"); e.Origin != tt.origin || !errors.Is(e, tt.err) {
				t.Errorf("ended with %v, want %v: %v", e, tt.origin, tt.err)
			}
			until(t, "it is gone", func() bool { return a.NumConnected() == 0 })
			if want := map[bool]uint64{true: 1}[tt.origin == raw.Decode]; a.Stats().DecodeErrors != want {
				t.Errorf("%d decode errors, want %d", a.Stats().DecodeErrors, want)
			}
		})
	}
}

// nonces is a handshake in which each side says a number that the other checks.
func nonces(mine, theirs byte) func(context.Context, net.Conn, conn.Direction) (net.Conn, error) {
	return func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
		if _, err := s.Write([]byte{mine}); err != nil {
			return nil, err
		}
		var b [1]byte
		if _, err := io.ReadFull(s, b[:]); err != nil {
			return nil, err
		}
		if b[0] != theirs {
			return nil, fmt.Errorf("nonce %d, want %d", b[0], theirs)
		}
		return named{s, fmt.Sprint("peer ", b[0])}, nil
	}
}

// named is a stream with what the handshake has learned.
type named struct {
	net.Conn
	name string
}

func TestTheHandshakeGuardsTheConnection(t *testing.T) {
	hooked := make(chan string, 10)
	h := &hooks{
		handshake:  nonces(1, 2),
		connect:    func(_ context.Context, c *raw.Conn) error { hooked <- c.Stream().(named).name; return nil },
		message:    func(context.Context, *raw.Conn, []byte) { hooked <- "message" },
		disconnect: func(context.Context, *raw.Conn, *raw.EndError) { hooked <- "disconnect" },
	}
	a, addr := listen(t, h, raw.Config{})
	t.Run("one that succeeds names the peer", func(t *testing.T) {
		b := start(t, &hooks{handshake: nonces(2, 1)}, raw.Config{})
		c := connect(t, b, addr)
		if got := wait(t, hooked, "OnConnect"); got != "peer 2" {
			t.Errorf("OnConnect with %q", got)
		}
		c.Disconnect(nil)
		if got := wait(t, hooked, "OnDisconnect"); got != "disconnect" {
			t.Errorf("%s, want disconnect", got)
		}
	})
	t.Run("one that fails closes the socket and calls nothing", func(t *testing.T) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write(append([]byte{9}, frame("let me in")...))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		for err == nil { // the nonce, and then the end
			_, err = c.Read(make([]byte, 10))
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("the socket is still open")
		}
		until(t, "it is counted", func() bool { return a.Stats().HandshakeErrors == 1 })
		if s := a.Stats(); s.Opened != 1 || a.NumConnecting() != 0 || len(hooked) != 0 {
			t.Errorf("%+v; %d callbacks", s, len(hooked))
		}
	})
	t.Run("one that fails on the other side fails Connect, or ends the connection", func(t *testing.T) {
		b := start(t, &hooks{handshake: nonces(9, 9)}, raw.Config{})
		if _, err := b.Connect(t.Context(), addr); err == nil {
			t.Error("connected")
		}
		if b.NumConnected() != 0 || b.NumConnecting() != 0 || b.Stats().HandshakeErrors != 1 {
			t.Errorf("%d connected, %+v", b.NumConnected(), b.Stats())
		}
	})
}

func TestTheHandshakeMayWrapTheStream(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	config, err := secure.Config(key, identity.NodeID{})
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(ctx context.Context, s net.Conn, d conn.Direction) (net.Conn, error) {
		c := tls.Client(s, config)
		if d == conn.Incoming {
			c = tls.Server(s, config)
		}
		return c, c.HandshakeContext(ctx)
	}
	got := make(chan string, 2)
	a, addr := listen(t, &hooks{handshake: wrap, message: func(_ context.Context, c *raw.Conn, msg []byte) {
		got <- string(msg)
		_ = c.Send([]byte("too"))
	}}, raw.Config{})
	b := start(t, &hooks{handshake: wrap, message: func(_ context.Context, _ *raw.Conn, msg []byte) { got <- string(msg) }}, raw.Config{})
	c := connect(t, b, addr)
	if err := c.Send([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	if first, second := wait(t, got, "a message"), wait(t, got, "the answer"); first != "secret" || second != "too" {
		t.Errorf("got %q and %q", first, second)
	}
	if state := c.Stream().(*tls.Conn).ConnectionState(); state.Version != tls.VersionTLS13 {
		t.Errorf("TLS %x", state.Version)
	}
	c.Disconnect(nil)
	until(t, "the other side sees an orderly end", func() bool { return a.Stats().Ended[raw.Peer] == 1 })
}

// Callbacks of a connection come in order and never overlap.
func TestCallbacksComeInOrder(t *testing.T) {
	var mu sync.Mutex
	var log []string
	note := func(what string) { mu.Lock(); log = append(log, what); mu.Unlock() }
	held := make(chan struct{})
	h := &hooks{
		connect:    func(context.Context, *raw.Conn) error { <-held; note("connect"); return nil },
		message:    func(_ context.Context, _ *raw.Conn, msg []byte) { note(string(msg)) },
		disconnect: func(_ context.Context, _ *raw.Conn, e *raw.EndError) { note("disconnect " + e.Origin.String()) },
	}
	a, addr := listen(t, h, raw.Config{})
	b := start(t, &hooks{}, raw.Config{})
	c := connect(t, b, addr) // does not wait for OnConnect
	for _, m := range []string{"one", "two", "three"} {
		if err := c.Send([]byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	server := only(t, a)
	c.Disconnect(nil)
	wait(t, c.Done(), "the end")
	close(held)
	wait(t, server.Done(), "the end")
	mu.Lock()
	defer mu.Unlock()
	if got := fmt.Sprint(log); got != "[connect one two three disconnect closed by the peer]" {
		t.Errorf("callbacks: %s", got)
	}
}

func TestOnConnectMaySendAndRefuse(t *testing.T) {
	got := make(chan string, 1)
	why := make(chan *raw.EndError, 1)
	_, addr := listen(t, &hooks{
		connect: func(_ context.Context, c *raw.Conn) error {
			if err := c.Send([]byte("go away")); err != nil {
				t.Error(err)
			}
			return errBad
		},
		message:    func(context.Context, *raw.Conn, []byte) { t.Error("a message after OnConnect has refused") },
		disconnect: func(_ context.Context, _ *raw.Conn, e *raw.EndError) { why <- e },
	}, raw.Config{})
	b := start(t, &hooks{
		connect: func(_ context.Context, c *raw.Conn) error { return c.Send([]byte("hello")) },
		message: func(_ context.Context, _ *raw.Conn, msg []byte) { got <- string(msg) },
	}, raw.Config{})
	connect(t, b, addr)
	if m := wait(t, got, "the message"); m != "go away" {
		t.Errorf("got %q", m)
	}
	if e := wait(t, why, "OnDisconnect"); e.Origin != raw.ConnectHook || !errors.Is(e, errBad) {
		t.Errorf("ended with %v", e)
	}
}

func TestOnConnectIsToldOfTheEnd(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		t.Run(fmt.Sprintf("and heeds it: %t", heeds), func(t *testing.T) {
			entered, completed, goOn := make(chan struct{}), make(chan error, 1), make(chan struct{})
			disconnected := make(chan struct{})
			a, addr := listen(t, &hooks{
				connect: func(ctx context.Context, _ *raw.Conn) error {
					close(entered)
					if heeds {
						<-ctx.Done()
					} else {
						<-goOn
					}
					completed <- context.Cause(ctx)
					return nil
				},
				disconnect: func(context.Context, *raw.Conn, *raw.EndError) { close(disconnected) },
			}, raw.Config{HookTimeout: patience})
			connect(t, start(t, &hooks{}, raw.Config{}), addr)
			wait(t, entered, "OnConnect")
			only(t, a).Disconnect(nil)
			if !heeds {
				select {
				case <-disconnected:
					t.Error("OnDisconnect overlaps OnConnect")
				default:
				}
				close(goOn)
			}
			if cause := wait(t, completed, "OnConnect to return"); !errors.Is(cause, raw.User) {
				t.Errorf("its context ended with %v", cause)
			}
			wait(t, disconnected, "OnDisconnect")
		})
	}
}

func TestOnDisconnectSaysGoodbyeOnBothSides(t *testing.T) {
	heard := make(chan string, 1)
	why := make(chan raw.Origin, 2)
	h := &hooks{
		message: func(_ context.Context, _ *raw.Conn, msg []byte) {
			if string(msg) == "goodbye" {
				heard <- string(msg)
			}
		},
		disconnect: func(_ context.Context, c *raw.Conn, e *raw.EndError) {
			why <- e.Origin
			d, err := c.SendTracked([]byte("goodbye"))
			if e.Origin == raw.User {
				if err == nil {
					err = d.Wait(context.Background())
				}
				if err != nil {
					t.Errorf("goodbye: %v", err)
				}
			}
		},
	}
	a, addr := listen(t, h, raw.Config{})
	b := start(t, h, raw.Config{})
	c := connect(t, b, addr)
	server := only(t, a)
	for range 1000 { // unread bytes in the socket that closes must not cost the goodbye
		_ = server.Send(make([]byte, 1000))
	}
	c.Disconnect(nil)
	wait(t, heard, "the goodbye")
	wait(t, c.Done(), "the end")
	wait(t, server.Done(), "the end")
	if x, y := <-why, <-why; x != raw.User || y != raw.Peer {
		t.Errorf("origins %v and %v, want user and peer", x, y)
	}
}

func TestShutdownFromACallback(t *testing.T) {
	for _, tt := range []struct {
		name string
		hook func(n *raw.Node) *hooks
	}{
		{"OnMessage", func(n *raw.Node) *hooks {
			return &hooks{message: func(context.Context, *raw.Conn, []byte) { _ = n.Shutdown(context.Background()) }}
		}},
		{"OnMessage with its context", func(n *raw.Node) *hooks {
			return &hooks{message: func(ctx context.Context, _ *raw.Conn, _ []byte) { _ = n.Shutdown(ctx) }}
		}},
		{"OnConnect", func(n *raw.Node) *hooks {
			return &hooks{connect: func(context.Context, *raw.Conn) error { _ = n.Shutdown(context.Background()); return nil }}
		}},
		{"OnDisconnect", func(n *raw.Node) *hooks {
			return &hooks{
				message:    func(_ context.Context, c *raw.Conn, _ []byte) { c.Disconnect(nil) },
				disconnect: func(context.Context, *raw.Conn, *raw.EndError) { _ = n.Shutdown(context.Background()) },
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newFakeListener()
				later := &hooks{}
				n, err := raw.New(later, raw.Config{NewListener: l.open})
				if err != nil {
					t.Fatal(err)
				}
				*later = *tt.hook(n)
				if _, err := n.Listen(t.Context()); err != nil {
					t.Fatal(err)
				}
				c := open(t, l)
				go func() { _, _ = c.Write(frame("now")) }()
				began := time.Now()
				<-n.Done()
				if took := time.Since(began); took > 30*time.Second {
					t.Errorf("took %v", took)
				}
				c.Close()
			})
		})
	}
}
