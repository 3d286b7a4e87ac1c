package quic_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
)

func TestBadConfig(t *testing.T) {
	for _, c := range []struct {
		config quic.Config
		says   string
	}{
		{quic.Config{IdleTimeout: time.Millisecond}, "IdleTimeout"},
		{quic.Config{IdleTimeout: -time.Second}, "IdleTimeout"},
		{quic.Config{Window: 1}, "Window"},
		{quic.Config{Window: 2 << 30}, "Window"},
		{quic.Config{Streams: 1 << 17}, "Streams"},
		{quic.Config{LocalAddr: "localhost:1"}, "LocalAddr"},
		{quic.Config{LocalAddr: "192.0.2.1"}, "LocalAddr"},
		{quic.Config{LocalAddr: "127.0.0.1:0", PacketConn: &net.UDPConn{}}, "PacketConn"},
	} {
		e, tr := newEnv(t), quic.NewWith(c.config)
		_, dial := tr.Dial(t.Context(), e.local, e.local.Key.ID(), e.listen.Addr())
		_, listen := tr.Listen(t.Context(), e.local, addr("127.0.0.1:0"))
		for _, err := range []error{dial, listen} {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v: %v; want an error that names %s", c.config, err, c.says)
			}
		}
		tr.Close()
	}
}

// TestConfigs runs traffic over sockets that work in other ways than by default.
func TestConfigs(t *testing.T) {
	for name, config := range map[string]quic.Config{
		"no GRO":       {NoGRO: true},
		"no GSO":       {NoGSO: true},
		"neither":      {NoGRO: true, NoGSO: true},
		"small window": {Window: 16 << 10},
		"own socket":   {PacketConn: listenLoopback(t)},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.dialer.Close()
			e.dialer = quic.NewWith(config)
			defer e.dialer.Close()
			x, y := e.connect(t)
			there, back := send(t, x, y), send(t, y, x)
			there.await(t, 2)
			back.await(t, 2)
			there.finish(t)
			back.finish(t)
		})
	}
}

// TestWindow: what nobody reads waits with its writer, but for the window.
func TestWindow(t *testing.T) {
	for want, config := range map[int]quic.Config{16 << 10: {Window: 16 << 10}, 40 << 10: {Window: 40 << 10}, 128 << 10: {}} {
		e := newEnvWith(t, config)
		x, _ := e.connect(t)
		x.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := x.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n != want {
			t.Errorf("Window %d: Write = %d, %v; want %d and a missed deadline", config.Window, n, err, want)
		}
	}
}

// TestRestart: a node that has lost its connections by a restart tells those who
// still have one as soon as it hears of them. Else they had to wait for the idle
// time-out.
func TestRestart(t *testing.T) {
	e := newEnv(t)
	r := newRelay(t, e.listen.Addr())
	x, y := e.dial(t, r.addr())
	if _, err := x.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := y.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	again := quic.New() // of the same node, and without a memory
	defer again.Close()
	l, err := again.Listen(t.Context(), e.local, addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	r.aim(t, l.Addr())
	if _, err := x.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	x.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := x.Read(make([]byte, 1)); !errors.Is(err, conn.CodeUnreachable) {
		t.Errorf("Read = %v, want %q", err, conn.CodeUnreachable)
	}
}

// A lossy socket loses and doubles packets, by a seed.
type lossy struct {
	net.PacketConn
	mu     *sync.Mutex // guards random
	random *rand.Rand
}

func (l lossy) WriteTo(p []byte, to net.Addr) (int, error) {
	l.mu.Lock()
	dice := l.random.IntN(20)
	l.mu.Unlock()
	switch dice {
	case 0:
		return len(p), nil
	case 1:
		_, _ = l.PacketConn.WriteTo(p, to)
	case 2:
		return 0, errors.New("no buffer space") // is a loss too
	}
	return l.PacketConn.WriteTo(p, to)
}

// TestOwnPacketConn: one socket of the caller dials and listens, as hole punching
// needs it, and need not be a good one.
func TestOwnPacketConn(t *testing.T) {
	e := newEnv(t)
	udp := listenLoopback(t)
	tr := quic.NewWith(quic.Config{PacketConn: lossy{udp, new(sync.Mutex), rand.New(rand.NewPCG(1, 2))}})
	defer tr.Close()
	at := addr(udp.LocalAddr().String())
	l, err := tr.Listen(t.Context(), e.local, addr("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr() != at {
		t.Errorf("it listens at %s, want %s", l.Addr(), at)
	}
	if second, err := tr.Listen(t.Context(), e.local, addr("127.0.0.1:0")); err == nil {
		second.Close()
		t.Error("a second listener was made on the one socket")
	}
	out, err := tr.Dial(t.Context(), e.local, e.local.Key.ID(), e.listen.Addr())
	if err != nil {
		t.Fatal(err)
	}
	seen, err := e.listen.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if seen.RemoteAddr() != at {
		t.Errorf("the dial comes from %s, want %s", seen.RemoteAddr(), at)
	}
	if _, err := e.dialer.Dial(t.Context(), e.local, e.local.Key.ID(), at); err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close(nil)
	there, back := send(t, out, seen), send(t, seen, out)
	there.await(t, 1)
	there.finish(t)
	back.finish(t)
	if err := tr.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := udp.WriteTo([]byte("x"), udp.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is still open after Close: %v", err)
	}
}

// TestLocalAddr: dials go out from the address of the configuration.
func TestLocalAddr(t *testing.T) {
	e := newEnv(t)
	tr := quic.NewWith(quic.Config{LocalAddr: "127.0.0.2:0"})
	defer tr.Close()
	if _, err := tr.Dial(t.Context(), e.local, e.local.Key.ID(), e.listen.Addr()); err != nil {
		t.Skipf("no 127.0.0.2 here: %v", err)
	}
	y, err := e.listen.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := y.RemoteAddr().Host; !strings.HasPrefix(got, "127.0.0.2:") {
		t.Errorf("the dial comes from %s, want 127.0.0.2", got)
	}
	if _, err := tr.Dial(t.Context(), e.local, e.local.Key.ID(), addr("[::1]:1")); err == nil || !strings.Contains(err.Error(), "LocalAddr") {
		t.Errorf("Dial of another family = %v, want an error that names LocalAddr", err)
	}
}

// TestIdleTimeout: a connection over which nothing comes ends.
func TestIdleTimeout(t *testing.T) {
	e := newEnvWith(t, quic.Config{IdleTimeout: time.Second, KeepAlive: -1})
	x, y := e.connect(t)
	for _, c := range []conn.Conn{x, y} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, conn.CodeTimeout) {
			t.Errorf("Read = %v, want %q", err, conn.CodeTimeout)
		}
	}
}
