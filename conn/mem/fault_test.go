package mem_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// A world is two nodes of one network in a synctest bubble.
type world struct {
	net          *mem.Network
	alice, bob   *mem.Transport
	local, other conn.Local // of alice and bob
	listen       conn.Listener
}

func newWorld(t *testing.T) *world {
	n := mem.NewNetwork()
	w := &world{
		net: n, alice: n.Transport(), bob: n.Transport(),
		local: conn.Local{Key: seed(t, 1)}, other: conn.Local{Key: seed(t, 2)},
	}
	var err error
	if w.listen, err = w.bob.Listen(t.Context(), w.other, addr("bob")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) dial(ctx context.Context) (conn.Conn, error) {
	return w.alice.Dial(ctx, w.local, w.other.Key.ID(), w.listen.Addr())
}

func (w *world) connect(t *testing.T) (a, b conn.Conn) {
	t.Helper()
	a, err := w.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = w.listen.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func (w *world) ids() (a, b identity.NodeID) { return w.local.Key.ID(), w.other.Key.ID() }

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.connect(t)
		pending := make(chan error)
		go func() {
			_, err := b.Read(make([]byte, 1))
			pending <- err
		}()
		synctest.Wait()
		w.net.Cut(w.ids())
		if err := <-pending; !errors.Is(err, mem.ErrCut) || !errors.Is(err, conn.CodeUnreachable) {
			t.Errorf("the pending Read = %v, want ErrCut", err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, mem.ErrCut) {
			t.Errorf("Write = %v, want ErrCut", err)
		}
		if _, err := w.dial(t.Context()); !errors.Is(err, mem.ErrCut) {
			t.Errorf("Dial = %v, want ErrCut", err)
		}
		a.Close(nil)
		b.Close(nil)
		w.net.Heal(w.ids())
		w.connect(t)
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.connect(t)
		w.net.Stall(w.ids())
		if _, err := a.Write([]byte("late")); err != nil {
			t.Fatalf("Write = %v; want it to be taken", err)
		}
		b.SetReadDeadline(time.Now().Add(time.Hour))
		start := time.Now()
		if _, err := b.Read(make([]byte, 4)); err == nil || time.Since(start) != time.Hour {
			t.Errorf("Read = %v after %v; want its deadline after 1h", err, time.Since(start))
		}
		a.SetWriteDeadline(time.Now().Add(time.Minute))
		if n, err := a.Write(make([]byte, 1<<20)); n != 256<<10-4 || err == nil {
			t.Errorf("Write = %d, %v; want what the buffer takes, and a timeout", n, err)
		}
		start = time.Now()
		if _, err := w.dial(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("Dial = %v after %v; want the handshake timeout", err, time.Since(start))
		}
		a.Close(conn.CodeShutdown) // b does not learn of it yet
		ended := make(chan error)
		b.SetReadDeadline(time.Time{})
		go func() {
			got, err := io.ReadAll(b)
			if len(got) != 256<<10 || string(got[:4]) != "late" {
				t.Errorf("%d bytes arrived after Heal, want %d", len(got), 256<<10)
			}
			ended <- err
		}()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Errorf("the stalled end has learned of Close: %v", err)
		default:
		}
		w.net.Heal(w.ids())
		var ce *conn.CloseError
		if err := <-ended; !errors.As(err, &ce) || !ce.Remote {
			t.Errorf("Read after Heal = %v, want the other side's CloseError", err)
		}
		w.connect(t)
	})
}

func TestBacklogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l, err := w.bob.Listen(t.Context(), conn.Local{Key: w.other.Key, MaxHandshakes: 2}, addr("small"))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := w.alice.Dial(t.Context(), w.local, identity.NodeID{}, l.Addr())
				done <- err
			}()
		}
		synctest.Wait()
		if len(done) != 2 {
			t.Fatalf("%d dials have returned with a backlog of 2, want 2", len(done))
		}
		if _, err := l.Accept(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Errorf("Dial = %v", err)
			}
		}
	})
}
