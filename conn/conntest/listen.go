package conntest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

var listenTests = []test{
	{"address", "Addr has the real port, with a scheme of the transport, and can be parsed and dialled", testAddr},
	{"wrong node", "dialling a node and reaching another is a *WrongNodeError; both sides work on", testWrongNode},
	{"any node", "a dial with the zero node ID takes whoever answers", testAnyNode},
	{"refused", "a dial to where nobody listens fails by the handshake timeout", testRefused},
	{"silent", "a dial to somebody who does not answer fails by the handshake timeout, or when ctx ends", testSilent},
	{"dial ended", "a dial ends with its ctx, with its cause, and does not begin after it", testDialCancel},
	{"contexts", "a ctx bounds the call that it is given to, not the listener or connection that the call returns", testContexts},
	{"schemes", "Schemes returns the same on every call, with the scheme that is listened at", testSchemes},
	{"accept ended", "Accept ends with its ctx; the listener works on", testAcceptCancel},
	{"listener closed", "Accept returns ErrClosed after Close, pending and later; Close may be repeated", testListenerClose},
	{"connections outlive the listener", "closing a listener leaves the connections that Accept has returned alone", testOutlive},
	{"unaccepted", "closing a listener closes the connections that wait for Accept", testUnaccepted},
	{"transport closed", "a closed transport neither dials nor listens, and pending calls end", testTransportClose},
	{"no key", "without a key there is an error, no panic", testNoKey},
	{"bad address", "an address of another scheme is an error, no panic", testBadAddress},
	{"listen again", "an address can be listened at again after Close", testListenAgain},
	{"stalled handshakes", "stalled handshakes keep nobody out: the oldest gives way", testStalled},
	{"garbage", "bytes that are not of the protocol do no harm", testGarbage},
}

func testAddr(t *testing.T, e *env) {
	l := e.listen(t)
	a := l.Addr()
	if strings.HasSuffix(a.Host, ":0") || a.IsZero() {
		t.Errorf("Addr = %q, want the real port", a)
	}
	if back, err := identity.ParseAddress(a.String()); err != nil || back != a {
		t.Errorf("ParseAddress(%q) = %q, %v", a, back, err)
	}
	var known bool
	for _, s := range e.Listener.Schemes() {
		known = known || s == a.Scheme
	}
	if !known {
		t.Errorf("the scheme of %q is not among %q", a, e.Listener.Schemes())
	}
	e.dial(t, l)
	e.accept(t, l)
}

func testWrongNode(t *testing.T, e *env) {
	l := e.listen(t)
	want := newKey(t).ID()
	_, err := e.Dialer.Dial(e.context(t), e.local, want, l.Addr())
	var wrong *conn.WrongNodeError
	if !errors.As(err, &wrong) || wrong.Want != want || wrong.Got != e.remote.Key.ID() {
		t.Fatalf("Dial = %v, want a *WrongNodeError with both IDs", err)
	}
	a := e.dial(t, l)
	b := e.accept(t, l)
	exchange(t, a, b, 1000)
}

func testAnyNode(t *testing.T, e *env) {
	l := e.listen(t)
	c, err := e.Dialer.Dial(e.context(t), e.local, identity.NodeID{}, l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	e.keep(t, c)
	if c.Node() != e.remote.Key.ID() {
		t.Errorf("Node = %s, want %s", c.Node(), e.remote.Key.ID())
	}
	e.accept(t, l)
}

// dialFails dials with the small handshake timeout and checks that it fails
// within it.
func (e *env) dialFails(t *testing.T, to identity.Address) {
	t.Helper()
	local := e.local
	local.HandshakeTimeout = small
	start := time.Now()
	c, err := e.Dialer.Dial(e.context(t), local, e.remote.Key.ID(), to)
	if err == nil {
		c.Close(nil)
		t.Fatal("Dial succeeded")
	}
	if took := time.Since(start); took > 5*small {
		t.Errorf("Dial took %v, with a handshake timeout of %v", took, small)
	}
}

func testRefused(t *testing.T, e *env) {
	if e.Refused.IsZero() {
		t.Skip("Pair.Refused is not set")
	}
	e.dialFails(t, e.Refused)
}

func testSilent(t *testing.T, e *env) {
	if e.Silent.IsZero() {
		t.Skip("Pair.Silent is not set")
	}
	e.dialFails(t, e.Silent)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer time.AfterFunc(short, func() { cancel(cause) }).Stop()
	if _, err := e.Dialer.Dial(ctx, e.local, e.remote.Key.ID(), e.Silent); !errors.Is(err, cause) {
		t.Errorf("Dial = %v, want the cause of its context", err)
	}
}

func testDialCancel(t *testing.T, e *env) {
	l := e.listen(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := e.Dialer.Dial(ctx, e.local, e.remote.Key.ID(), l.Addr()); !errors.Is(err, cause) {
		t.Errorf("Dial = %v, want the cause of its context", err)
	}
	e.dial(t, l)
}

func testContexts(t *testing.T, e *env) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := e.Listener.Listen(ctx, e.remote, e.At)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	cancel()
	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	a, err := e.Dialer.Dial(ctx, e.local, e.remote.Key.ID(), l.Addr())
	if err != nil {
		t.Fatalf("Dial of a listener whose ctx has ended: %v", err)
	}
	e.keep(t, a)
	b, err := l.Accept(ctx)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	e.keep(t, b)
	cancel()
	exchange(t, a, b, 10_000)
}

func testSchemes(t *testing.T, e *env) {
	for _, tr := range []conn.Transport{e.Dialer, e.Listener} {
		first, again := tr.Schemes(), tr.Schemes()
		if len(first) == 0 || !slices.Equal(first, again) {
			t.Errorf("Schemes = %q, then %q; want the same, and at least one", first, again)
		}
		if !slices.Contains(first, e.At.Scheme) {
			t.Errorf("Schemes = %q, without %q, which is listened at", first, e.At.Scheme)
		}
		for _, s := range first {
			if a, err := identity.ParseAddress(s + "://host:1"); err == nil && a.Scheme != s {
				t.Errorf("the scheme %q is parsed as %q", s, a.Scheme)
			}
		}
	}
}

func testAcceptCancel(t *testing.T, e *env) {
	l := e.listen(t)
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	if _, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Accept = %v, want the error of its context", err)
	}
	a := e.dial(t, l)
	exchange(t, a, e.accept(t, l), 1000)
}

func testListenerClose(t *testing.T, e *env) {
	l := e.listen(t)
	errs := make(chan error, 1)
	go func() {
		_, err := l.Accept(e.context(t))
		errs <- err
	}()
	if err := l.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-errs; !errors.Is(err, conn.ErrClosed) {
		t.Errorf("the pending Accept = %v, want ErrClosed", err)
	}
	if _, err := l.Accept(e.context(t)); !errors.Is(err, conn.ErrClosed) {
		t.Errorf("Accept after Close = %v, want ErrClosed", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	e.dialFails(t, l.Addr())
}

func testOutlive(t *testing.T, e *env) {
	l := e.listen(t)
	a := e.dial(t, l)
	b := e.accept(t, l)
	l.Close()
	exchange(t, a, b, 100_000)
}

func testUnaccepted(t *testing.T, e *env) {
	l := e.listen(t)
	a := e.dial(t, l)
	l.Close()
	readEnd(t, a)
}

func testTransportClose(t *testing.T, e *env) {
	l := e.listen(t)
	errs := make(chan error, 1)
	go func() {
		_, err := l.Accept(e.context(t))
		errs <- err
	}()
	if err := e.Listener.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-errs; !errors.Is(err, conn.ErrClosed) {
		t.Errorf("the pending Accept = %v, want ErrClosed", err)
	}
	if _, err := e.Listener.Listen(e.context(t), e.remote, e.At); !errors.Is(err, conn.ErrClosed) {
		t.Errorf("Listen after Close = %v, want ErrClosed", err)
	}
	if _, err := e.Listener.Dial(e.context(t), e.remote, identity.NodeID{}, l.Addr()); !errors.Is(err, conn.ErrClosed) {
		t.Errorf("Dial after Close = %v, want ErrClosed", err)
	}
	if e.Silent.IsZero() {
		return
	}
	go func() {
		_, err := e.Dialer.Dial(e.context(t), e.local, identity.NodeID{}, e.Silent)
		errs <- err
	}()
	timer := time.NewTimer(short)
	<-timer.C // most likely it is dialling by now; if not, it may not begin
	e.Dialer.Close()
	if err := <-errs; !errors.Is(err, conn.ErrClosed) {
		t.Errorf("the pending Dial = %v, want ErrClosed", err)
	}
}

func testNoKey(t *testing.T, e *env) {
	l := e.listen(t)
	if _, err := e.Dialer.Dial(e.context(t), conn.Local{}, identity.NodeID{}, l.Addr()); err == nil {
		t.Error("Dial without a key succeeded")
	}
	if _, err := e.Listener.Listen(e.context(t), conn.Local{}, e.At); err == nil {
		t.Error("Listen without a key succeeded")
	}
}

func testBadAddress(t *testing.T, e *env) {
	for _, a := range []identity.Address{{}, {Scheme: "nosuch", Host: "127.0.0.1:1"}, {Scheme: e.At.Scheme}} {
		if c, err := e.Dialer.Dial(e.context(t), e.local, identity.NodeID{}, a); err == nil {
			c.Close(nil)
			t.Errorf("Dial(%q) succeeded", a)
		}
		if l, err := e.Listener.Listen(e.context(t), e.remote, a); err == nil {
			l.Close()
			t.Errorf("Listen(%q) succeeded", a)
		}
	}
}

func testListenAgain(t *testing.T, e *env) {
	l := e.listen(t)
	a := e.dial(t, l)
	b := e.accept(t, l)
	if other, err := e.Listener.Listen(e.context(t), e.remote, l.Addr()); err == nil {
		other.Close()
		t.Error("a second listener at the same address was made")
	}
	l.Close()
	again, err := e.Listener.Listen(e.context(t), e.remote, l.Addr())
	if err != nil {
		t.Fatalf("Listen after Close: %v", err)
	}
	defer again.Close()
	a2 := e.dial(t, again)
	exchange(t, a2, e.accept(t, again), 1000)
	exchange(t, a, b, 1000)
}

func testStalled(t *testing.T, e *env) {
	if e.Stalled == nil {
		t.Skip("Pair.Stalled is not set")
	}
	const count = 100
	e.remote.MaxHandshakes = 20
	l := e.listen(t)
	var work sync.WaitGroup
	for range count {
		work.Go(func() { e.Stalled(t, l.Addr()) })
	}
	work.Wait()
	start := time.Now()
	a := e.dial(t, l)
	exchange(t, a, e.accept(t, l), 1000)
	if took := time.Since(start); took > limit/3 {
		t.Errorf("a good connection took %v beside %d stalled ones", took, count)
	}
}

func testGarbage(t *testing.T, e *env) {
	if e.Garbage == nil {
		t.Skip("Pair.Garbage is not set")
	}
	l := e.listen(t)
	for i := range 40 {
		p := pattern(1+i*37, uint32(i))
		if i%2 == 1 {
			p[0] = 0xc0 // of a QUIC long header
		} else if i%4 == 0 && len(p) > 2 {
			p[0], p[1], p[2] = 22, 3, 1 // of a TLS handshake
		}
		e.Garbage(t, l.Addr(), p)
	}
	e.Garbage(t, l.Addr(), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	a := e.dial(t, l)
	exchange(t, a, e.accept(t, l), 100_000)
}
