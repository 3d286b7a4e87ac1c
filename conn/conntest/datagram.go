package conntest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/plexus-net/plexus/conn"
)

var datagramTests = []test{
	{"datagrams", "where Features tells of datagrams, the Conn is a DatagramConn, and they arrive whole", testDatagrams},
	{"no datagrams", "where Features does not tell of datagrams, SendDatagram fails, and MaxDatagram is 0", testNoDatagrams},
	{"datagram limits", "a datagram that is too large fails at once; one of MaxDatagram bytes does not", testDatagramLimit},
	{"datagrams ended", "ReceiveDatagram ends with its ctx and with the connection", testDatagramEnd},
}

// datagrams returns the ends of a connection, or skips the case.
func (e *env) datagrams(t *testing.T) (a, b conn.DatagramConn) {
	t.Helper()
	x, y := e.connect(t)
	if !x.Features().Datagrams || !y.Features().Datagrams {
		t.Skip("the transport has no datagrams")
	}
	a, aok := x.(conn.DatagramConn)
	b, bok := y.(conn.DatagramConn)
	if !aok || !bok {
		t.Fatalf("%T has the feature Datagrams and is no DatagramConn", x)
	}
	return a, b
}

func testDatagrams(t *testing.T, e *env) {
	a, b := e.datagrams(t)
	for i := range 20 { // one after the other: few enough that none is dropped
		want := pattern(1+i*50, uint32(i))
		sent := bytes.Clone(want)
		if err := a.SendDatagram(sent); err != nil {
			t.Fatalf("SendDatagram: %v", err)
		}
		clear(sent) // it was copied
		got, err := b.ReceiveDatagram(e.context(t))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("ReceiveDatagram = %d bytes, %v; want the %d bytes sent", len(got), err, len(want))
		}
		a, b = b, a
	}
	exchange(t, a, b, 100_000) // the stream is not disturbed
}

func testNoDatagrams(t *testing.T, e *env) {
	a, b := e.connect(t)
	for _, c := range []conn.Conn{a, b} {
		d, ok := c.(conn.DatagramConn)
		if !ok || c.Features().Datagrams {
			continue
		}
		if n, err := d.MaxDatagram(), d.SendDatagram([]byte("x")); n != 0 || err == nil {
			t.Errorf("MaxDatagram, SendDatagram = %d, %v without the feature; want 0 and an error", n, err)
		}
	}
	exchange(t, a, b, 1000)
}

func testDatagramLimit(t *testing.T, e *env) {
	a, b := e.datagrams(t)
	n := a.MaxDatagram()
	if n < 1000 {
		t.Errorf("MaxDatagram = %d, want at least 1000", n)
	}
	if err := a.SendDatagram(make([]byte, 70_000)); err == nil {
		t.Error("a datagram of 70000 bytes was taken")
	}
	if err := a.SendDatagram(pattern(n, 9)); err != nil {
		t.Errorf("SendDatagram of MaxDatagram = %d bytes: %v", n, err)
	}
	if got, err := b.ReceiveDatagram(e.context(t)); err != nil || len(got) != n {
		t.Errorf("ReceiveDatagram = %d bytes, %v; want %d", len(got), err, n)
	}
}

func testDatagramEnd(t *testing.T, e *env) {
	a, b := e.datagrams(t)
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	if _, err := a.ReceiveDatagram(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ReceiveDatagram = %v, want the error of its context", err)
	}
	errs := make(chan error, 2)
	for _, c := range []conn.DatagramConn{a, b} {
		go func() {
			_, err := c.ReceiveDatagram(e.context(t))
			errs <- err
		}()
	}
	a.Close(errCause)
	for range 2 {
		if err := <-errs; !errors.Is(err, errCause) && !errors.Is(err, errCause.Code) {
			t.Errorf("a pending ReceiveDatagram = %v, want the cause", err)
		}
	}
	if err := a.SendDatagram([]byte("x")); !errors.Is(err, errCause) {
		t.Errorf("SendDatagram after Close = %v, want the cause", err)
	}
}
