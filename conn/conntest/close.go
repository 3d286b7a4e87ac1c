package conntest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/plexus-net/plexus/conn"
)

var closeTests = []test{
	{"close by dialler", "Close ends both sides; the other reads the cause where the transport carries it", func(t *testing.T, e *env) { testClose(t, e, false) }},
	{"close by listener", "Close ends both sides, whoever calls it", func(t *testing.T, e *env) { testClose(t, e, true) }},
	{"close without cause", "without a cause, the closing side has ErrClosed and the other an end", testCloseNil},
	{"close twice", "calls of Close after the first do nothing and keep the first cause", testCloseTwice},
	{"close unblocks", "Close ends pending Read and Write with the cause, soon", testCloseUnblocks},
	{"close does not wait", "Close returns soon although the peer reads nothing", testCloseFull},
	{"close race", "Close may be called by many goroutines at once, while others read and write", testCloseRace},
	{"long reason", "at most 256 bytes of a reason cross, as valid UTF-8", testLongReason},
	{"use after close", "Node, addresses, statistics, features and deadlines may be asked for after Close", testUseAfterClose},
	{"write to closed", "a writer learns in time that the other side is gone", testWriteToClosed},
}

var errCause = &conn.CloseError{Code: conn.CodeLimit, Reason: "for the test"}

// wantRemote checks what the other side has got of a cause.
func wantRemote(t *testing.T, c conn.Conn, err error, want *conn.CloseError) {
	t.Helper()
	if !c.Features().CloseReason {
		return // any error is right
	}
	var got *conn.CloseError
	if !errors.As(err, &got) || got.Code != want.Code || got.Reason != want.Reason || !got.Remote {
		t.Errorf("the other side reads %v, want a remote CloseError with %q and %q", err, want.Code, want.Reason)
	}
}

func testClose(t *testing.T, e *env, swap bool) {
	a, b := e.connect(t)
	if swap {
		a, b = b, a
	}
	write(t, a, []byte("x"))
	readFull(t, b, 1)
	if err := a.Close(errCause); err != nil {
		t.Errorf("Close = %v", err)
	}
	err := readEnd(t, b)
	wantRemote(t, b, err, errCause)
	if errors.Is(err, conn.ErrClosed) {
		t.Errorf("the other side reads %v, which is ErrClosed: it has not closed", err)
	}
	for range 2 {
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, errCause) {
			t.Errorf("Read after Close = %v, want the cause", err)
		}
		if _, err := a.Write([]byte("y")); !errors.Is(err, errCause) {
			t.Errorf("Write after Close = %v, want the cause", err)
		}
	}
}

func testCloseNil(t *testing.T, e *env) {
	a, b := e.connect(t)
	a.Close(nil)
	wantRemote(t, b, readEnd(t, b), &conn.CloseError{Code: conn.CodeClosed})
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, conn.ErrClosed) {
		t.Errorf("Read after Close(nil) = %v, want ErrClosed", err)
	}
	if _, err := a.Write(nil); !errors.Is(err, conn.ErrClosed) {
		t.Errorf("an empty Write after Close(nil) = %v, want ErrClosed", err)
	}
}

func testCloseTwice(t *testing.T, e *env) {
	a, b := e.connect(t)
	a.Close(errCause)
	if err := a.Close(errors.New("other")); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, errCause) {
		t.Errorf("Read = %v, want the first cause", err)
	}
	readEnd(t, b)
	if err := b.Close(nil); err != nil {
		t.Errorf("Close after the other side's = %v", err)
	}
	if err := b.SetReadDeadline(time.Now()); err != nil {
		_ = err // allowed, but it may not panic
	}
}

// fill writes until the connection is full or ends and returns the error.
func fill(c conn.Conn) error {
	p := make([]byte, 64<<10)
	for {
		if _, err := c.Write(p); err != nil {
			return err
		}
	}
}

// progress waits until nothing more is written to c.
func progress(c conn.Conn) {
	for last := c.Stats().BytesSent; ; {
		timer := time.NewTimer(short)
		<-timer.C
		now := c.Stats().BytesSent
		if now == last {
			return
		}
		last = now
	}
}

func testCloseUnblocks(t *testing.T, e *env) {
	a, _ := e.connect(t)
	errs := make(chan error, 2)
	go func() {
		_, err := a.Read(make([]byte, 1))
		errs <- err
	}()
	go func() { errs <- fill(a) }()
	progress(a)
	start := time.Now()
	a.Close(errCause)
	for range 2 {
		if err := <-errs; !errors.Is(err, errCause) {
			t.Errorf("a pending call ends with %v, want the cause", err)
		}
	}
	if took := time.Since(start); took > limit/3 {
		t.Errorf("that took %v", took)
	}
}

func testCloseFull(t *testing.T, e *env) {
	a, b := e.connect(t)
	a.SetWriteDeadline(time.Now().Add(3 * short))
	wantTimeout(t, "Write to a peer that does not read", fill(a))
	start := time.Now()
	a.Close(errCause)
	if took := time.Since(start); took > time.Second {
		t.Errorf("Close took %v", took)
	}
	readEnd(t, b)
}

func testCloseRace(t *testing.T, e *env) {
	a, b := e.connect(t)
	var work sync.WaitGroup
	for _, c := range []conn.Conn{a, b} {
		work.Go(func() { fill(c) })
		work.Go(func() { readEnd(t, c) })
		for range 3 {
			work.Go(func() {
				c.Close(errCause)
				c.Stats()
			})
		}
	}
	work.Wait()
}

func testWriteToClosed(t *testing.T, e *env) {
	a, b := e.connect(t)
	b.Close(errCause)
	err := fill(a)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Write = %v", err)
	}
	wantRemote(t, a, err, errCause)
}

func testLongReason(t *testing.T, e *env) {
	a, b := e.connect(t)
	if !b.Features().CloseReason {
		t.Skip("the transport carries no reasons")
	}
	whole := strings.Repeat("ä€", 200)
	a.Close(&conn.CloseError{Code: conn.CodeRejected, Reason: whole})
	err := readEnd(t, b)
	var got *conn.CloseError
	if !errors.As(err, &got) || got.Code != conn.CodeRejected || !got.Remote {
		t.Fatalf("the other side reads %v, want a remote CloseError with %q", err, conn.CodeRejected)
	}
	if n := len(got.Reason); n > 256 || n < 200 || !utf8.ValidString(got.Reason) || !strings.HasPrefix(whole, got.Reason) {
		t.Errorf("a reason of %d bytes arrived as %d bytes %q; want its beginning of at most 256 bytes", len(whole), n, got.Reason)
	}
}

func testUseAfterClose(t *testing.T, e *env) {
	a, b := e.connect(t)
	exchange(t, a, b, 1000)
	for _, c := range []conn.Conn{a, b} {
		node, local, remote := c.Node(), c.LocalAddr(), c.RemoteAddr()
		c.Close(nil)
		if c.Node() != node || c.LocalAddr() != local || c.RemoteAddr() != remote {
			t.Errorf("Close has changed %s at %s to %s at %s", node, remote, c.Node(), c.RemoteAddr())
		}
		if s := c.Stats(); s.BytesSent != 1000 || s.BytesReceived != 1000 {
			t.Errorf("BytesSent, BytesReceived = %d, %d after Close; want 1000 each", s.BytesSent, s.BytesReceived)
		}
		_ = c.Features()
		_ = errors.Join(c.SetReadDeadline(time.Now()), c.SetWriteDeadline(time.Time{})) // an error is allowed, a panic is not
		if d, ok := c.(conn.DatagramConn); ok {
			if err := d.SendDatagram([]byte("x")); err == nil {
				t.Error("SendDatagram succeeded after Close")
			}
		}
	}
}
