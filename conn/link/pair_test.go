package link_test

import (
	"context"
	"net"
	"testing"

	"github.com/plexus-net/plexus/conn/link"
)

var noContext = context.Background()

func tcpPair(t testing.TB) (x, y net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	x, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	y, err = l.Accept()
	must(t, err)
	t.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

// linkPair returns the ends of a link over TCP.
func linkPair[T any](t testing.TB, c link.Config[T, T]) (x, y *link.Link[T, T]) {
	t.Helper()
	a, b := tcpPair(t)
	return linkOver(t, a, b, c, c)
}

// pipePair returns the ends of a link in memory: it works in a bubble.
func pipePair[T any](t testing.TB, c link.Config[T, T]) (x, y *link.Link[T, T]) {
	t.Helper()
	a, b := net.Pipe()
	return linkOver(t, a, b, c, c)
}

// linkOver makes a link of two connected streams. The logins run beside each
// other.
func linkOver[A, B any](t testing.TB, a, b link.Stream, ca link.Config[A, B], cb link.Config[B, A]) (x *link.Link[A, B], y *link.Link[B, A]) {
	t.Helper()
	ended := make(chan error)
	go func() {
		var err error
		y, err = link.New(noContext, b, false, cb)
		ended <- err
	}()
	x, err := link.New(noContext, a, true, ca)
	must(t, err)
	must(t, <-ended)
	t.Cleanup(func() { _ = x.Close(); _ = y.Close() }) // tests that care have closed them
	return x, y
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
