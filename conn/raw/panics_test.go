package raw_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

// poison is the message that makes the callbacks of panicking nodes panic.
const poison = "poison"

// panicking panics in one callback.
type panicking struct {
	hooks
	in string
}

func (p *panicking) Handshake(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
	b := make([]byte, 1)
	if _, err := s.Read(b); err != nil {
		return nil, err
	}
	if b[0] == 'p' && p.in == "Handshake" {
		panic(poison)
	}
	if b[0] == 'p' && (p.in == "Read" || p.in == "Write" || p.in == "Close") {
		return panickingStream{s, p.in}, nil
	}
	return s, nil
}

func (p *panicking) NewDecoder(i raw.Info) raw.Decoder {
	if p.in == "NewDecoder" {
		panic(poison)
	}
	return p
}

func (p *panicking) NewEncoder(i raw.Info) raw.Encoder {
	if p.in == "NewEncoder" {
		panic(poison)
	}
	return p
}

func (p *panicking) Decode(data []byte) (int, []byte, error) {
	n, msg, err := wire{}.Decode(data)
	if string(msg) == poison && p.in == "Decode" {
		panic(poison)
	}
	return n, msg, err
}

func (p *panicking) Encode(dst, msg []byte) ([]byte, error) {
	if string(msg) == poison && p.in == "Encode" {
		panic(poison)
	}
	return wire{}.Encode(dst, msg)
}

type panickingStream struct {
	net.Conn
	in string
}

func (s panickingStream) Read(b []byte) (int, error) {
	if s.in == "Read" {
		panic(poison)
	}
	return s.Conn.Read(b)
}

func (s panickingStream) Write(b []byte) (int, error) {
	if s.in == "Write" {
		panic(poison)
	}
	return s.Conn.Write(b)
}

func (s panickingStream) Close() error {
	if s.in == "Close" {
		defer panic(poison)
	}
	return s.Conn.Close()
}

// logs is where a node logs to.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestAPanicCostsItsConnectionOnly(t *testing.T) {
	setup := []string{"Handshake"}
	live := []string{"Decode", "OnMessage", "Encode", "OnConnect", "OnDisconnect", "Read", "Write"}
	for _, in := range append(setup, live...) {
		t.Run(in, func(t *testing.T) {
			log := new(logs)
			why, pong := make(chan *raw.EndError, 1), make(chan string, 1)
			p := &panicking{in: in}
			p.connect = func(_ context.Context, c *raw.Conn) error {
				if in == "OnConnect" && c.Info().Remote.(*net.TCPAddr).IP.String() == "127.0.0.2" {
					panic(errBad)
				}
				return nil
			}
			p.message = func(_ context.Context, c *raw.Conn, msg []byte) {
				if in == "OnMessage" && string(msg) == poison {
					panic(errBad)
				}
				_ = c.Send(msg)
			}
			p.disconnect = func(_ context.Context, c *raw.Conn, e *raw.EndError) {
				why <- e
				if in == "OnDisconnect" {
					panic(errBad)
				}
			}
			a, addr := listen(t, p, raw.Config{Log: slog.New(slog.NewTextHandler(log, nil))})
			good := start(t, &hooks{
				handshake: func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
					_, err := s.Write([]byte("g"))
					return s, err
				},
				message: func(_ context.Context, _ *raw.Conn, msg []byte) { pong <- string(msg) },
			}, raw.Config{})
			c := connect(t, good, addr)
			bad, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", addr)
			if err != nil {
				t.Skipf("no socket at 127.0.0.2 on this system: %v", err)
			}
			defer bad.Close()
			_, _ = bad.Write(append([]byte("p"), frame(poison)...))
			if in == "OnDisconnect" {
				bad.Close()
			}
			until(t, "the panic is counted", func() bool { return a.Stats().Panics == 1 })
			if in != "Handshake" {
				e := wait(t, why, "OnDisconnect")
				var pe *raw.PanicError
				if in != "OnDisconnect" && (e.Origin != raw.Panic || !errors.As(e, &pe) || pe.Callback != in) {
					t.Errorf("ended with %v", e)
				}
			}
			until(t, "only the good one is left", func() bool { return a.NumConnected() == 1 && a.NumConnecting() == 0 })
			if err := c.Send([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			if got := wait(t, pong, "the answer to the other connection"); got != "ping" {
				t.Errorf("answered %q", got)
			}
			if text := log.String(); strings.Count(text, "callback panicked") != 1 || !strings.Contains(text, "panics_test.go") {
				t.Errorf("logged %q, want the panic once, with its stack", text)
			}
		})
	}
}

func TestAPanicInMakingACodecCostsTheConnection(t *testing.T) {
	for _, in := range []string{"NewDecoder", "NewEncoder"} {
		a, addr := listen(t, &panicking{in: in}, raw.Config{})
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("g"))
		until(t, "the panic is counted", func() bool { return a.Stats().Panics == 1 && a.NumConnecting() == 0 })
		if s := a.Stats(); s.Opened != 0 || s.HandshakeErrors != 0 {
			t.Errorf("%s: %+v", in, s)
		}
		c.Close()
	}
}

func TestAPanicInCloseChangesNothing(t *testing.T) {
	a, addr := listen(t, &panicking{in: "Close"}, raw.Config{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("p"))
	only(t, a)
	c.Close()
	until(t, "it is gone", func() bool { return a.NumConnected() == 0 })
}

// A stream that panicked is not asked for anything more: who says goodbye learns
// that it cannot.
func TestAStreamThatPanickedIsNotWrittenTo(t *testing.T) {
	ended := make(chan error, 1)
	n := start(t, &hooks{disconnect: func(_ context.Context, c *raw.Conn, _ *raw.EndError) { ended <- c.Send([]byte("bye")) }}, raw.Config{})
	here, there := net.Pipe()
	s := noted{panickingStream{here, "Read"}, make(chan *byte, 1)}
	c, err := n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return s, nil })
	if err != nil {
		t.Fatal(err)
	}
	_ = there.Close()
	if err := wait(t, ended, "OnDisconnect"); !errors.Is(err, raw.Panic) {
		t.Errorf("Send in OnDisconnect: %v, want that it panicked", err)
	}
	wait(t, c.Done(), "the end")
	if len(s.wrote) != 0 || !errors.Is(c.Err(), raw.Panic) {
		t.Errorf("written %d times, ended with %v, want not at all and Panic", len(s.wrote), c.Err())
	}
}

func TestPanicsOfWhatMakesStreamsAreErrors(t *testing.T) {
	n := start(t, nil, raw.Config{NewListener: func(context.Context) (net.Listener, error) { panic(poison) }})
	var p *raw.PanicError
	if _, err := n.Listen(t.Context()); !errors.As(err, &p) {
		t.Errorf("Listen: %v", err)
	}
	if _, err := n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { panic(errBad) }); !errors.Is(err, errBad) {
		t.Errorf("ConnectUsing: %v", err)
	}
}

// The panic of an encoder reaches who sends as an error.
func TestAnEncoderThatPanicsFailsTheSend(t *testing.T) {
	_, addr := listen(t, &hooks{}, raw.Config{})
	p := &panicking{in: "Encode"}
	b := start(t, struct{ raw.EncoderMaker }{p}, raw.Config{})
	c := connect(t, b, addr)
	var pe *raw.PanicError
	if err := c.Send([]byte(poison)); !errors.As(err, &pe) {
		t.Errorf("Send: %v", err)
	}
	wait(t, c.Done(), "the end")
	if !errors.Is(c.Err(), raw.Panic) {
		t.Errorf("ended with %v", c.Err())
	}
}
