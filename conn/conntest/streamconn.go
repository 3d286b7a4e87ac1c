package conntest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// maxStreams is the default of Pair.MaxStreams.
const maxStreams = 256

var streamConnTests = []test{
	{"streams", "where Features tells of streams, the Conns are StreamConns; each stream carries its bytes in order, both ways, beside the Conn", testStreams},
	{"streams of one side", "where Features does not tell of streams, OpenStream fails with an error that is errors.ErrUnsupported", testStreamsUnsupported},
	{"streams half closed", "after CloseWrite the other end reads what was written, then io.EOF; the other direction goes on", testStreamCloseWrite},
	{"streams closed", "Close of a stream ends both directions of it; what was written before arrives; nothing else ends", testStreamClose},
	{"streams not read", "a stream that is not read holds up its writer alone: neither the Conn nor other streams", testStreamNotRead},
	{"streams not accepted", "at most Pair.MaxStreams streams wait for AcceptStream; those that do delay nothing", testStreamBound},
	{"many streams", "many streams at a time do not disturb each other, and streams that were closed make room for others", testStreamMany},
	{"stream deadlines", "deadlines of a stream bound its pending and later calls, and nothing else", testStreamDeadlines},
	{"streams ended", "Close of the Conn ends its streams with an error, never io.EOF, and pending OpenStream and AcceptStream", testStreamEnd},
	{"streams awaited", "OpenStream and AcceptStream end with their ctx, and the connection works on", testStreamContext},
}

// A halfCloser is what every stream is beside a net.Conn.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// streamConns returns the ends of a connection whose first end opens streams,
// or skips the case.
func (e *env) streamConns(t *testing.T, l conn.Listener) (a, b conn.StreamConn) {
	t.Helper()
	x := e.dial(t, l)
	y := e.accept(t, l)
	if !x.Features().Streams {
		t.Skip("the transport has no streams")
	}
	a, aok := x.(conn.StreamConn)
	b, bok := y.(conn.StreamConn)
	if !aok || !bok {
		t.Fatalf("the dialled Conn has the feature Streams; that it is a StreamConn is %t, and that the accepted one is, %t", aok, bok)
	}
	return a, b
}

// eachWay calls run with the ends of a connection and, where the accepted end
// can open streams too, with those of another one the other way round.
func (e *env) eachWay(t *testing.T, run func(t *testing.T, e *env, a, b conn.StreamConn)) {
	t.Helper()
	l := e.listen(t)
	a, b := e.streamConns(t, l)
	run(t, e, a, b)
	if b.Features().Streams && !t.Failed() {
		a, b = e.streamConns(t, l)
		run(t, e, b, a)
	}
}

// open opens a stream from a to b and returns both ends of it.
func (e *env) open(t *testing.T, a, b conn.StreamConn) (out, in halfCloser) {
	t.Helper()
	out = e.openOne(t, a)
	// It may be that a stream is seen only once it carries something.
	write(t, out, []byte{'<'})
	in = e.acceptOne(t, b)
	if head := readFull(t, in, 1); head[0] != '<' {
		t.Fatalf("the stream begins with %q, want %q", head, "<")
	}
	return out, in
}

func (e *env) openOne(t *testing.T, a conn.StreamConn) halfCloser {
	t.Helper()
	s, err := a.OpenStream(e.context(t))
	if err != nil {
		t.Fatalf("OpenStream: %v", err)
	}
	return keepStream(t, s)
}

func (e *env) acceptOne(t *testing.T, b conn.StreamConn) halfCloser {
	t.Helper()
	s, err := b.AcceptStream(e.context(t))
	if err != nil {
		t.Fatalf("AcceptStream: %v", err)
	}
	return keepStream(t, s)
}

// keepStream bounds the calls on s and closes it after the case.
func keepStream(t *testing.T, s net.Conn) halfCloser {
	t.Helper()
	h, ok := s.(halfCloser)
	if !ok {
		t.Fatalf("%T has no method CloseWrite() error", s)
	}
	if err := s.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatalf("SetDeadline of a stream: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return h
}

func testStreams(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		out, in := e.open(t, a, b)
		second, secondIn := e.open(t, a, b)
		exchange(t, out, in, 600_000)
		exchange(t, second, secondIn, 1000)
		exchange(t, a, b, 100_000)
		for _, end := range []struct {
			s net.Conn
			c conn.Conn
		}{{out, a}, {in, b}} {
			if got, want := end.s.RemoteAddr().Network(), end.c.RemoteAddr().Scheme; got != want {
				t.Errorf("a stream's RemoteAddr has the network %q, want %q, the transport's", got, want)
			}
			if got, want := end.s.RemoteAddr().String(), end.c.Node().String(); !strings.Contains(got, want) {
				t.Errorf("a stream's RemoteAddr is %q, want one with the node %s", got, want)
			}
			if got := end.s.LocalAddr(); got == nil || got.Network() != end.c.RemoteAddr().Scheme || got.String() == "" {
				t.Errorf("a stream's LocalAddr is %v, want one that tells the transport and the node", got)
			}
		}
	})
}

func testStreamsUnsupported(t *testing.T, e *env) {
	a, b := e.connect(t)
	for _, c := range []conn.Conn{a, b} {
		s, ok := c.(conn.StreamConn)
		if !ok || c.Features().Streams {
			continue
		}
		if opened, err := s.OpenStream(e.context(t)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("OpenStream without the feature = %v, %v; want errors.ErrUnsupported", opened, err)
		}
	}
	exchange(t, a, b, 1000)
}

func testStreamCloseWrite(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		for _, swap := range []bool{false, true} { // by the end that opened it, by the other
			out, in := e.open(t, a, b)
			if swap {
				out, in = in, out
			}
			write(t, out, pattern(50_000, 3))
			if err := out.CloseWrite(); err != nil {
				t.Errorf("CloseWrite = %v", err)
			}
			if _, err := out.Write([]byte("x")); err == nil {
				t.Error("Write after CloseWrite succeeded")
			}
			got, err := io.ReadAll(in)
			if err != nil || !bytes.Equal(got, pattern(50_000, 3)) {
				t.Errorf("%d bytes arrived, then %v; want the 50000 that were written, then io.EOF", len(got), err)
			}
			write(t, in, []byte("back"))
			if got := readFull(t, out, 4); string(got) != "back" {
				t.Errorf("got %q after CloseWrite, want %q", got, "back")
			}
		}
	})
}

func testStreamClose(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		out, in := e.open(t, a, b)
		other, otherIn := e.open(t, a, b)
		pending := make(chan error, 1)
		go func() {
			_, err := out.Read(make([]byte, 1))
			pending <- err
		}()
		write(t, out, []byte("last"))
		for range 2 {
			if err := out.Close(); err != nil {
				t.Errorf("Close of a stream = %v", err)
			}
		}
		if err := <-pending; err == nil || err == io.EOF {
			t.Errorf("a pending Read of a stream that is closed here = %v, want an error that is not io.EOF", err)
		}
		if _, err := out.Write([]byte("x")); err == nil {
			t.Error("Write to a stream that is closed succeeded")
		}
		if got, err := io.ReadAll(in); err != nil || string(got) != "last" {
			t.Errorf("the other end read %q, then %v; want %q, then io.EOF", got, err, "last")
		}
		if err := fillStream(in, e.MaxBuffered); err == nil {
			t.Error("the other end can write for ever to a stream that is closed")
		}
		in.Close()
		exchange(t, other, otherIn, 10_000)
		exchange(t, a, b, 10_000)
	})
}

// fillStream writes until an error or until most bytes are written.
func fillStream(s io.Writer, most int) error {
	p := make([]byte, 64<<10)
	for sent := 0; sent <= most; {
		n, err := s.Write(p)
		if err != nil {
			return err
		}
		sent += n
	}
	return nil
}

func testStreamNotRead(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		var work sync.WaitGroup
		for range 3 {
			full, _ := e.open(t, a, b)
			if err := full.SetWriteDeadline(time.Now().Add(3 * short)); err != nil {
				t.Fatal(err)
			}
			work.Go(func() {
				if err := fillStream(full, e.MaxBuffered); err == nil {
					t.Errorf("more than %d bytes were written to a stream that is not read", e.MaxBuffered)
				} else {
					wantTimeout(t, "Write to a stream that is not read", err)
				}
			})
		}
		work.Wait()
		exchange(t, a, b, 1<<20)
		out, in := e.open(t, a, b)
		exchange(t, out, in, 1<<20)
	})
}

func testStreamBound(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		opened := e.openUntilFull(t, a)
		exchange(t, a, b, 10_000)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		accepted := 0
		for accepted < opened {
			s, err := b.AcceptStream(ctx)
			if err != nil {
				t.Fatalf("AcceptStream after %d of %d streams: %v", accepted, opened, err)
			}
			in := keepStream(t, s)
			if got := readFull(t, in, 1); got[0] != 'x' {
				t.Fatalf("a stream begins with %q, want %q", got, "x")
			}
			in.Close()
			accepted++
		}
		out, in := e.open(t, a, b) // there is room again
		exchange(t, out, in, 1000)
	})
}

// openUntilFull opens streams that nobody accepts until no more open, and
// returns how many did.
func (e *env) openUntilFull(t *testing.T, a conn.StreamConn) int {
	t.Helper()
	for n := range e.MaxStreams + 1 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*short)
		s, err := a.OpenStream(ctx)
		cancel()
		if err != nil {
			return n
		}
		out := keepStream(t, s)
		_, err = out.Write([]byte("x"))
		if n == e.MaxStreams && err == nil { // it may be refused a little later
			_, err = out.Read(make([]byte, 1))
		}
		if err != nil {
			wantRefused(t, err)
			return n
		}
		if err := out.CloseWrite(); err != nil {
			t.Fatalf("CloseWrite = %v", err)
		}
	}
	t.Fatalf("more than %d streams wait for AcceptStream", e.MaxStreams)
	return 0
}

// wantRefused checks that a stream was ended, and did not wait in vain.
func wantRefused(t *testing.T, err error) {
	t.Helper()
	var slow interface{ Timeout() bool }
	if errors.As(err, &slow) && slow.Timeout() {
		t.Errorf("one stream too many neither opens nor ends: %v", err)
	}
}

func testStreamMany(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		const together, after = 40, 300
		var work sync.WaitGroup
		work.Go(func() {
			for range together {
				s, err := b.AcceptStream(e.context(t))
				if err != nil {
					t.Errorf("AcceptStream: %v", err)
					return
				}
				work.Go(func() {
					defer s.Close()
					if _, err := io.Copy(s, s); err != nil {
						t.Errorf("echo: %v", err)
					}
				})
			}
		})
		for i := range together {
			work.Go(func() {
				if err := echo(e.context(t), a, pattern(30_000, uint32(i))); err != nil {
					t.Errorf("stream %d: %v", i, err)
				}
			})
		}
		work.Wait()
		for i := range after { // more than may be open at once
			out, in := e.open(t, a, b)
			if err := errors.Join(out.Close(), in.Close()); err != nil || t.Failed() {
				t.Fatalf("stream %d after others were closed: %v", i, err)
			}
		}
	})
}

// echo sends p over a new stream and checks what comes back.
func echo(ctx context.Context, a conn.StreamConn, p []byte) error {
	s, err := a.OpenStream(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(p)
		sent <- errors.Join(err, s.(halfCloser).CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(got, p) {
		return fmt.Errorf("other bytes came back than the %d that were sent", len(p))
	}
	return nil
}

func testStreamDeadlines(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		out, in := e.open(t, a, b)
		p := make([]byte, 8)
		in.SetReadDeadline(time.Now().Add(short))
		_, err := in.Read(p)
		wantTimeout(t, "Read of a stream", err)
		in.SetDeadline(time.Now().Add(limit))
		end := make(chan error, 1)
		go func() {
			_, err := in.Read(p)
			end <- err
		}()
		in.SetReadDeadline(time.Now().Add(short))
		wantTimeout(t, "the pending Read of a stream", <-end)
		in.SetReadDeadline(time.Now().Add(limit))
		write(t, out, []byte("one"))
		if got := readFull(t, in, 3); string(got) != "one" {
			t.Errorf("got %q after a missed deadline, want %q", got, "one")
		}
		out.SetDeadline(time.Now().Add(-time.Second))
		_, err = out.Read(p)
		wantTimeout(t, "Read of a stream with a deadline in the past", err)
		wantTimeout(t, "Write to a stream with a deadline in the past", fillStream(out, e.MaxBuffered))
		exchange(t, a, b, 1000)
	})
}

func testStreamEnd(t *testing.T, e *env) {
	e.eachWay(t, func(t *testing.T, e *env, a, b conn.StreamConn) {
		out, in := e.open(t, a, b)
		var ends [2]chan error
		for i, s := range []net.Conn{out, in} {
			ends[i] = make(chan error, 1)
			go func() {
				_, err := s.Read(make([]byte, 1))
				ends[i] <- err
			}()
		}
		accepts := [2]chan error{make(chan error, 1), make(chan error, 1)}
		for i, c := range []conn.StreamConn{a, b} {
			go func() {
				_, err := c.AcceptStream(e.context(t))
				accepts[i] <- err
			}()
		}
		a.Close(errCause)
		for i := range ends {
			if err := <-ends[i]; err == nil || err == io.EOF || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a pending Read of a stream = %v after Close of the Conn, want an error that tells of the end", err)
			}
			if err := <-accepts[i]; err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a pending AcceptStream = %v after Close of the Conn, want an error that tells of the end", err)
			}
		}
		if _, err := out.Write([]byte("x")); err == nil {
			t.Error("Write to a stream succeeded after Close of the Conn")
		}
		if _, err := a.OpenStream(e.context(t)); !errors.Is(err, errCause) {
			t.Errorf("OpenStream after Close = %v, want the cause", err)
		}
		if _, err := a.AcceptStream(e.context(t)); !errors.Is(err, errCause) {
			t.Errorf("AcceptStream after Close = %v, want the cause", err)
		}
	})
}

func testStreamContext(t *testing.T, e *env) {
	a, b := e.streamConns(t, e.listen(t))
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer time.AfterFunc(short, func() { cancel(cause) }).Stop()
	if _, err := b.AcceptStream(ctx); !errors.Is(err, cause) {
		t.Errorf("AcceptStream = %v, want the cause of its context", err)
	}
	if _, err := a.OpenStream(ctx); !errors.Is(err, cause) {
		t.Errorf("OpenStream = %v, want the cause of its context", err)
	}
	opened, cancelOpened := context.WithCancel(context.Background())
	s, err := a.OpenStream(opened)
	cancelOpened() // it bounds the call, not the stream
	if err != nil {
		t.Fatalf("OpenStream: %v", err)
	}
	out := keepStream(t, s)
	write(t, out, []byte("x"))
	in := e.acceptOne(t, b)
	readFull(t, in, 1)
	exchange(t, out, in, 1000)
	exchange(t, a, b, 1000)
}
