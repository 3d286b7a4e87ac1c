// Package conntest checks that a transport keeps the rules of package conn.
// Call [Run] from a test of the transport:
//
//	func TestConformance(t *testing.T) {
//		conntest.Run(t, func(t *testing.T) conntest.Pair {
//			return conntest.Pair{
//				Dialer: tcp.New(), Listener: tcp.New(),
//				At: identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"},
//			}
//		})
//	}
//
// Each case carries the rule that it checks and prints it when it fails. What
// a transport does not claim in [conn.Features] is left out: the cases of
// datagrams and of streams run where the dialled Conn tells of them.
package conntest

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Times of the cases.
const (
	limit = 15 * time.Second       // of anything that should not wait at all
	short = 100 * time.Millisecond // of what is meant to time out
	small = 700 * time.Millisecond // handshake timeout of dials that must fail
)

// maxBuffered is the default of Pair.MaxBuffered.
const maxBuffered = 32 << 20

// A Pair is what a case works with: two transports of two nodes. Run closes
// them. The zero fields after At leave cases out.
type Pair struct {
	Dialer, Listener conn.Transport
	// At is an address for Listener, which asks for a free port or name.
	At identity.Address

	// Refused is an address where nobody listens.
	Refused identity.Address
	// Silent is an address where somebody takes connections and then says
	// nothing.
	Silent identity.Address
	// Garbage sends bytes to a listener that are not of the protocol.
	Garbage func(t *testing.T, to identity.Address, p []byte)
	// Stalled begins a connection to a listener and never finishes its
	// handshake. It cleans up after the test.
	Stalled func(t *testing.T, to identity.Address)
	// Sockets are "tcp" or "udp", where Host of an address is the IP address
	// and port of such a socket, at both ends. The cases about hosts that
	// differ then run, with Stalled.
	Sockets string
	// MaxBuffered bounds what a writer may get rid of while the other side
	// does not read. Default 32 MiB.
	MaxBuffered int
	// MaxStreams bounds the streams that wait for AcceptStream of a
	// [conn.StreamConn]. Default 256.
	MaxStreams int
}

// A test is one case of the suite.
type test struct {
	name string
	rule string
	run  func(t *testing.T, e *env)
}

// Run runs the suite. open is called for every case; it may skip or fail it.
func Run(t *testing.T, open func(t *testing.T) Pair) {
	t.Helper()
	var all []test
	all = append(all, streamTests...)
	all = append(all, closeTests...)
	all = append(all, listenTests...)
	all = append(all, hostTests...)
	all = append(all, datagramTests...)
	all = append(all, streamConnTests...)
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the rule: %s", c.rule)
				}
			})
			before := goleak.IgnoreCurrent()
			e := newEnv(t, open(t))
			t.Run("case", func(t *testing.T) { c.run(t, e) }) // its clean-up comes before ours
			e.close(t)
			if err := goleak.Find(before); err != nil {
				t.Errorf("goroutines are left after Close: %v", err)
			}
		})
	}
}

// An env is a pair with keys.
type env struct {
	Pair
	local, remote conn.Local // of Dialer and Listener
}

func newEnv(t *testing.T, p Pair) *env {
	if p.MaxBuffered == 0 {
		p.MaxBuffered = maxBuffered
	}
	if p.MaxStreams == 0 {
		p.MaxStreams = maxStreams
	}
	return &env{Pair: p, local: conn.Local{Key: newKey(t)}, remote: conn.Local{Key: newKey(t)}}
}

func newKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// close closes the transports and checks that it does not take long.
func (e *env) close(t *testing.T) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- errors.Join(e.Dialer.Close(), e.Listener.Close()) }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Transport.Close: %v", err)
		}
	case <-time.After(limit):
		t.Fatalf("Transport.Close has not returned after %v", limit)
	}
}

// context returns one that ends when the case has taken too long.
func (e *env) context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// listen listens until the end of the case.
func (e *env) listen(t *testing.T) conn.Listener {
	t.Helper()
	l, err := e.Listener.Listen(e.context(t), e.remote, e.At)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dial dials l.
func (e *env) dial(t *testing.T, l conn.Listener) conn.Conn {
	t.Helper()
	c, err := e.Dialer.Dial(e.context(t), e.local, e.remote.Key.ID(), l.Addr())
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	e.keep(t, c)
	return c
}

func (e *env) accept(t *testing.T, l conn.Listener) conn.Conn {
	t.Helper()
	c, err := l.Accept(e.context(t))
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	e.keep(t, c)
	return c
}

// keep bounds the calls on c and closes it after the case.
func (e *env) keep(t *testing.T, c conn.Conn) {
	t.Helper()
	by := time.Now().Add(limit)
	if err := errors.Join(c.SetReadDeadline(by), c.SetWriteDeadline(by)); err != nil {
		t.Fatalf("set deadlines: %v", err)
	}
	t.Cleanup(func() { c.Close(nil) })
}

// connect returns the ends of a new connection: dialled and accepted.
func (e *env) connect(t *testing.T) (a, b conn.Conn) {
	t.Helper()
	l := e.listen(t)
	a = e.dial(t, l)
	return a, e.accept(t, l)
}

// write writes all of p.
func write(t *testing.T, c io.Writer, p []byte) {
	t.Helper()
	if n, err := c.Write(p); n != len(p) || err != nil {
		t.Errorf("Write of %d bytes = %d, %v; want all of them", len(p), n, err)
	}
}

// readFull reads n bytes.
func readFull(t *testing.T, c io.Reader, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if got, err := io.ReadFull(c, p); err != nil {
		t.Errorf("Read gave %d of %d bytes, then %v", got, n, err)
	}
	return p
}

// readEnd reads until an error and returns it.
func readEnd(t *testing.T, c conn.Conn) error {
	t.Helper()
	p := make([]byte, 64<<10)
	for {
		if _, err := c.Read(p); err != nil {
			return err
		}
	}
}

// pattern returns n bytes that differ from place to place and seed to seed.
func pattern(n int, seed uint32) []byte {
	p := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range p {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x)
	}
	return p
}

// wantTimeout checks for the error of a missed deadline.
func wantTimeout(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s = %v; want an error that is os.ErrDeadlineExceeded", what, err)
	}
}
