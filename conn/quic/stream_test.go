package quic_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/internal/yardstick"
)

// TestPeerWithoutStreams: an older version takes none. That is an error that says
// so, not a wait for ever, and the other direction works.
func TestPeerWithoutStreams(t *testing.T) {
	e := newEnv(t)
	older := quic.NewWith(quic.Config{Streams: -1})
	defer older.Close()
	x, err := older.Dial(t.Context(), e.local, e.local.Key.ID(), e.listen.Addr())
	if err != nil {
		t.Fatal(err)
	}
	y, err := e.listen.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if y.Features().Streams || !x.Features().Streams {
		t.Errorf("Features().Streams is %t towards the older end, %t from it; want false, true", y.Features().Streams, x.Features().Streams)
	}
	if _, err := y.(conn.StreamConn).OpenStream(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("OpenStream = %v, want errors.ErrUnsupported", err)
	}
	out, err := x.(conn.StreamConn).OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	in, err := y.(conn.StreamConn).AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
}

// TestStreamLimit: with Config.Streams open, OpenStream waits, until both ends
// have closed one.
func TestStreamLimit(t *testing.T) {
	e := newEnvWith(t, quic.Config{Streams: 2})
	c, d := e.connect(t)
	x, y := c.(conn.StreamConn), d.(conn.StreamConn)
	var outs, ins []net.Conn
	for range 2 {
		out, err := x.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		in, err := y.AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		outs, ins = append(outs, out), append(ins, in)
	}
	opened := make(chan error, 1)
	go func() {
		third, err := x.OpenStream(t.Context())
		if err == nil {
			third.Close()
		}
		opened <- err
	}()
	outs[0].Close() // one end is not enough
	select {
	case err := <-opened:
		t.Fatalf("a third stream opened while the other end has two: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	ins[0].Close()
	if err := <-opened; err != nil {
		t.Errorf("OpenStream after one was closed = %v", err)
	}
}

// TestStreamCloseEndsWrite: Close does not wait for a Write that waits, and the
// other end does not take what came for the whole.
func TestStreamCloseEndsWrite(t *testing.T) {
	e := newEnv(t)
	x, y := e.connect(t)
	out, err := x.(conn.StreamConn).OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := out.Write(make([]byte, 32<<20))
		wrote <- err
	}()
	in, err := y.(conn.StreamConn).AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if err := <-wrote; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the pending Write = %v, want net.ErrClosed", err)
	}
	if _, err := io.Copy(io.Discard, in); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the other end reads %v, want io.ErrClosedPipe", err)
	}
	if _, err := in.Write([]byte("x")); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for err == nil && ctx.Err() == nil {
			_, err = in.Write([]byte("x"))
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the other end's Write = %v, want io.ErrClosedPipe", err)
		}
	}
	if _, err := out.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close = %v, want net.ErrClosed", err)
	}
}

// TestStreamsNobodyAccepts: a peer that opens all the streams it may, and writes
// what each takes, costs no more than Config.Streams says, although it has said
// nothing that anybody knows it by. The Conn goes on.
func TestStreamsNobodyAccepts(t *testing.T) {
	e := newEnv(t)
	x, y := e.connect(t)
	first := send(t, x, y) // so that the window of the Conn has grown
	first.await(t, 2)
	first.finish(t)
	before := yardstick.Memory()
	carried, opened := 0, 0
	for {
		ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
		s, err := x.(conn.StreamConn).OpenStream(ctx)
		stop()
		if err != nil {
			break
		}
		opened++
		s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := s.Write(make([]byte, 256<<10))
		if err == nil {
			t.Fatal("a stream that nobody accepts took 256 KiB")
		}
		carried += n
	}
	if held := yardstick.Memory() - before; opened != 8 || held > 4<<20 {
		t.Errorf("%d streams were opened, %d KiB sent on them, and %d KiB are held for that; want 8 and at most 4 MiB", opened, carried>>10, held>>10)
	}
	there := send(t, x, y)
	there.await(t, 2)
	there.finish(t)
}
