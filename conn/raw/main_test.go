package raw_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

func TestMain(m *testing.M) {
	if os.Getenv(successorEnv) != "" {
		succeed() // this is the second process of a test
		return
	}
	goleak.VerifyTestMain(m)
}

// successorEnv is set in the second process of TestAnotherProcessTakesOver.
const successorEnv = "RAW_TEST_SUCCESSOR"

// patience bounds waiting for what has to come.
const patience = 20 * time.Second

// wire is the protocol of the tests: messages after their length in two bytes.
type wire struct{}

func (wire) NewDecoder(raw.Info) raw.Decoder { return wire{} }
func (wire) NewEncoder(raw.Info) raw.Encoder { return wire{} }

var errBad = errors.New("bad message")

func (wire) Decode(data []byte) (int, []byte, error) {
	if len(data) < 2 {
		return 0, nil, nil
	}
	n := int(binary.BigEndian.Uint16(data))
	switch {
	case n == 0xffff:
		return 0, nil, errBad
	case len(data) < 2+n:
		return 0, nil, nil
	}
	return 2 + n, data[2 : 2+n], nil
}

func (wire) Encode(dst, msg []byte) ([]byte, error) {
	if len(msg) >= 0xffff {
		return dst, errBad
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(msg))), msg...), nil
}

// hooks has every protocol, each of which does what its field says, or nothing.
type hooks struct {
	wire
	handshake  func(context.Context, net.Conn, conn.Direction) (net.Conn, error)
	connect    func(context.Context, *raw.Conn) error
	message    func(context.Context, *raw.Conn, []byte)
	disconnect func(context.Context, *raw.Conn, *raw.EndError)
}

func (h *hooks) Handshake(ctx context.Context, s net.Conn, d conn.Direction) (net.Conn, error) {
	if h.handshake == nil {
		return s, nil
	}
	return h.handshake(ctx, s, d)
}

func (h *hooks) OnConnect(ctx context.Context, c *raw.Conn) error {
	if h.connect == nil {
		return nil
	}
	return h.connect(ctx, c)
}

func (h *hooks) OnMessage(ctx context.Context, c *raw.Conn, msg []byte) {
	if h.message != nil {
		h.message(ctx, c, msg)
	}
}

func (h *hooks) OnDisconnect(ctx context.Context, c *raw.Conn, why *raw.EndError) {
	if h.disconnect != nil {
		h.disconnect(ctx, c, why)
	}
}

// start makes a node and shuts it down after the test.
func start(t testing.TB, v any, c raw.Config) *raw.Node {
	t.Helper()
	if c.Address == "" && (c.Network == "" || c.Network == "tcp") {
		c.Address = "127.0.0.1:0"
	}
	n, err := raw.New(v, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, n) })
	return n
}

func shutdown(t testing.TB, n *raw.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// listen starts a node that listens, and returns its address.
func listen(t testing.TB, v any, c raw.Config) (*raw.Node, string) {
	t.Helper()
	n := start(t, v, c)
	addr, err := n.Listen(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n, addr.String()
}

func connect(t testing.TB, n *raw.Node, addr string) *raw.Conn {
	t.Helper()
	c, err := n.Connect(context.Background(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wait returns what comes out of a channel, and fails the test if nothing does.
func wait[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-ch:
	case <-timer.C:
		t.Fatalf("timed out waiting for %s", what)
	}
	return v
}

// until waits for a state that nothing tells of. It looks again whenever others
// have run.
func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !reached() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
		tick := time.NewTimer(time.Millisecond)
		<-tick.C
	}
}

// only returns the one connection of a node, which may have to come yet.
func only(t testing.TB, n *raw.Node) *raw.Conn {
	t.Helper()
	until(t, "there is one connection", func() bool { return n.NumConnected() == 1 })
	for c := range n.Conns() {
		return c
	}
	t.Fatal("the connection has gone")
	return nil
}

// A fakeListener hands out connections over net.Pipe, from any address.
type fakeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newFakeListener() *fakeListener {
	return &fakeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *fakeListener) open(context.Context) (net.Listener, error) { return l, nil }

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *fakeListener) Addr() net.Addr { return fakeAddr("fake") }

// dial returns the other end of a connection that the listener accepts from an
// address, io.ErrClosedPipe if it is closed.
func (l *fakeListener) dial(from string) (net.Conn, error) { return l.dialFrom(fakeAddr(from)) }

func (l *fakeListener) dialFrom(from net.Addr) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- fakeConn{b, from}:
		return a, nil
	case <-l.closed:
		return nil, io.ErrClosedPipe
	}
}

type fakeAddr string

func (a fakeAddr) Network() string { return "tcp" }
func (a fakeAddr) String() string  { return string(a) }

type fakeConn struct {
	net.Conn
	remote net.Addr
}

func (c fakeConn) RemoteAddr() net.Addr { return c.remote }

// frame is a message as wire writes it.
func frame(msg string) []byte {
	b, err := wire{}.Encode(nil, []byte(msg))
	if err != nil {
		panic(err)
	}
	return b
}
