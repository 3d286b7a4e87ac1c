package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

func listen[T any](t testing.TB, c link.Config[T, T]) *link.Listener[T, T] {
	t.Helper()
	s, err := link.Listen("tcp", "127.0.0.1:0", c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// With MaxConns of 1 a second client is refused, and a third let in once the
// first has gone, whoever closes and however often.
func TestMaxConns(t *testing.T) {
	for _, closer := range []string{"client", "server", "abort"} {
		t.Run(closer, func(t *testing.T) {
			s := listen(t, bytesConfig{MaxConns: 1})
			dial := func() *link.Link[[]byte, []byte] {
				l, err := link.Dial(noContext, "tcp", s.Addr(), bytesConfig{})
				must(t, err)
				t.Cleanup(func() { _ = l.Close() })
				return l
			}
			first := dial()
			k, err := s.Accept(noContext)
			must(t, err)
			second := dial()
			if _, err := second.Recv(noContext); err == nil || errors.Is(err, link.ErrClosed) {
				t.Errorf("the second: %v, want the end", err)
			}
			if open, refused := s.Open(); open != 1 || refused != 1 {
				t.Errorf("%d open, %d refused; want 1, 1", open, refused)
			}
			switch closer {
			case "client":
				must(t, first.Close())
				if _, err := k.Recv(noContext); err != io.EOF {
					t.Error(err)
				}
				must(t, k.Close())
			case "server":
				must(t, k.Close())
				must(t, k.Close())
			case "abort":
				k.Abort(io.ErrUnexpectedEOF)
				_ = k.Close()
			}
			if open, _ := s.Open(); open != 0 {
				t.Errorf("%d open after the end, want 0", open)
			}
			third := dial()
			k, err = s.Accept(noContext)
			must(t, err)
			defer k.Close()
			exchange(t, third, k, []byte("a"), []byte("b"))
		})
	}
}

// Ten clients that never log in delay an eleventh by nothing; one that is
// beyond MaxLogins takes the place of the oldest.
func TestStalledLogins(t *testing.T) {
	config := with(noteHooks{OnLogin: func(ctx context.Context, l *noteLink) error { _, err := l.Recv(ctx); return err }})
	config.MaxLogins, config.LoginTimeout = 10, time.Hour
	s := listen(t, config)
	var stalled []net.Conn
	for i := range 10 {
		c, err := net.Dial("tcp", s.Addr())
		must(t, err)
		defer c.Close()
		stalled = append(stalled, c)
		for { // the order of arrival is to be that of dialling
			if open, _ := s.Open(); open == i+1 {
				break
			}
		}
	}
	l, err := link.Dial(noContext, "tcp", s.Addr(), with(noteHooks{OnLogin: func(ctx context.Context, l *noteLink) error { return l.Send(ctx, note{Text: "me"}) }}))
	must(t, err)
	defer l.Close()
	k, err := s.Accept(noContext)
	must(t, err)
	defer k.Close()
	exchange(t, l, k, note{1, "a"}, note{2, "b"})
	if _, err := stalled[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest still logs in")
	}
	must(t, stalled[9].SetReadDeadline(time.Now()))
	if _, err := stalled[9].Read(make([]byte, 1)); err == io.EOF {
		t.Error("the youngest was given up")
	}
	if open, _ := s.Open(); open != 10 {
		t.Errorf("%d open, want the nine that stall and the one", open)
	}
}

// Server and client start and stop ten times on one port.
func TestRestart(t *testing.T) {
	s := listen(t, bytesConfig{})
	addr := s.Addr()
	for i := range 10 {
		if i > 0 {
			var err error
			s, err = link.Listen("tcp", addr, bytesConfig{})
			must(t, err)
		}
		l, err := link.Dial(noContext, "tcp", addr, bytesConfig{})
		must(t, err)
		k, err := s.Accept(noContext)
		must(t, err)
		exchange(t, l, k, []byte{byte(i)}, []byte("ok"))
		must(t, l.Close())
		must(t, k.Close())
		must(t, s.Close())
		if _, err := s.Accept(noContext); !errors.Is(err, link.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
	}
}

// Dial tries again after RetryAfter, or as Retry says, until it is answered or
// ctx ends.
func TestDialRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		var at []time.Duration
		start := time.Now()
		a, b := net.Pipe()
		defer b.Close()
		stream := func(context.Context) (link.Stream, error) {
			at = append(at, time.Since(start))
			if len(at) < 4 {
				return nil, down
			}
			return a, nil
		}
		l, err := link.Connect(noContext, stream, bytesConfig{Retry: func(n int, err error) time.Duration {
			if err != down {
				t.Errorf("Retry is told %v", err)
			}
			return time.Duration(n) * time.Second
		}})
		must(t, err)
		must(t, l.Close())
		for i, want := range []time.Duration{0, time.Second, 3 * time.Second, 6 * time.Second} {
			if at[i] != want {
				t.Errorf("attempt %d after %v, want %v", i+1, at[i], want)
			}
		}
		at = nil
		ctx, stop := context.WithTimeout(noContext, 2500*time.Millisecond)
		defer stop()
		_, err = link.Connect(ctx, func(context.Context) (link.Stream, error) { at = append(at, 0); return nil, down }, bytesConfig{})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, down) || len(at) != 3 {
			t.Errorf("%d attempts, %v; want 3, the end of ctx and the last error", len(at), err)
		}
	})
}

// Close gives up logins and links that nobody has accepted.
func TestListenerClose(t *testing.T) {
	s := listen(t, bytesConfig{})
	var work sync.WaitGroup
	for range 5 {
		l, err := link.Dial(noContext, "tcp", s.Addr(), bytesConfig{})
		must(t, err)
		defer l.Close()
		work.Go(func() { _, _ = l.Recv(noContext) }) // ends
	}
	for {
		if open, _ := s.Open(); open == 5 {
			break
		}
	}
	must(t, s.Close())
	work.Wait()
	if open, _ := s.Open(); open != 0 {
		t.Errorf("%d links are left", open)
	}
}

// Where as many wait for Accept as may, the next is closed, and those that wait
// stay.
func TestNobodyAccepts(t *testing.T) {
	s := listen(t, bytesConfig{MaxLogins: 2})
	for i := range 2 {
		l, err := link.Dial(noContext, "tcp", s.Addr(), bytesConfig{})
		must(t, err)
		defer l.Close()
		must(t, l.Send(noContext, []byte{byte(i)}))
	}
	// The third is refused once both are through with their logins; before,
	// it takes the place of one.
	for refused := uint64(0); refused == 0; _, refused = s.Open() {
		l, err := link.Dial(noContext, "tcp", s.Addr(), bytesConfig{})
		must(t, err)
		must(t, l.Close())
	}
	for range 2 {
		k, err := s.Accept(noContext)
		must(t, err)
		defer k.Close()
	}
	ended, stop := context.WithCancel(noContext)
	stop()
	if k, err := s.Accept(ended); err == nil {
		t.Errorf("a third waits too: %v", k.Info())
	}
}

// A hundred links leave no descriptor behind, however they ended; goroutines
// are checked when all tests are done.
func TestNothingIsLeft(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc/self/fd to count descriptors in")
		}
		return len(entries)
	}
	s := listen(t, bytesConfig{})
	cycle := func(i int) {
		l, err := link.Dial(noContext, "tcp", s.Addr(), bytesConfig{})
		must(t, err)
		k, err := s.Accept(noContext)
		must(t, err)
		exchange(t, l, k, []byte("a"), []byte("b"))
		if i%2 == 0 {
			l.Abort(nil)
		}
		must(t, l.Close())
		_, _ = k.Recv(noContext) // the end
		_ = k.Close()            // after the end of the other
	}
	cycle(0) // what is made once
	before := descriptors()
	for i := range 100 {
		cycle(i)
	}
	if after := descriptors(); after > before { // fewer: one of an earlier test has gone
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if open, _ := s.Open(); open != 0 {
		t.Errorf("%d links are counted as open", open)
	}
}
