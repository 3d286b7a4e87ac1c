//go:build unix

package unix_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/unix"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		silent := place(t)
		kernel, err := net.Listen("unix", silent.Path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kernel.Close() })
		at := place(t)
		at.Path = filepath.Dir(at.Path) + "/"
		return conntest.Pair{
			Dialer: unix.New(), Listener: unix.New(), At: at,
			Refused: stale(t), Silent: silent,
			Garbage: func(t *testing.T, to identity.Address, p []byte) {
				c := dialRaw(t, to)
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
				c.Close()
			},
			Stalled: func(t *testing.T, to identity.Address) { dialRaw(t, to) },
		}
	})
}

// place returns an address of its own, short enough for a socket.
func place(t *testing.T) identity.Address {
	t.Helper()
	dir, err := os.MkdirTemp("", "plexus")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return identity.Address{Scheme: "unix", Path: filepath.Join(dir, "node.sock")}
}

// stale returns the address of a file whose listener is dead.
func stale(t *testing.T) identity.Address {
	t.Helper()
	at := place(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at.Path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	return at
}

func dialRaw(t *testing.T, to identity.Address) net.Conn {
	c, err := net.Dial("unix", to.Path)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newLocal(t *testing.T) conn.Local {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return conn.Local{Key: key}
}

func TestModeOfTheFile(t *testing.T) {
	old := syscall.Umask(0) // as loose as can be
	defer syscall.Umask(old)
	for _, test := range []struct{ set, want fs.FileMode }{{0, 0o600}, {0o660, 0o660}, {0o666, 0o666}} {
		tr := unix.NewWith(unix.Config{Mode: test.set})
		at := place(t)
		l, err := tr.Listen(t.Context(), newLocal(t), at)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Lstat(at.Path)
		if err != nil || file.Mode().Perm() != test.want {
			t.Errorf("with Mode %v the file has %v, %v; want %v", test.set, file.Mode(), err, test.want)
		}
		l.Close()
		if _, err := os.Lstat(at.Path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close the file is there: %v", err)
		}
		tr.Close()
	}
	tr := unix.NewWith(unix.Config{Mode: fs.ModeDir})
	defer tr.Close()
	if _, err := tr.Listen(t.Context(), newLocal(t), place(t)); err == nil {
		t.Error("a mode that is none of a socket was taken")
	}
}

// Streams are those that the other end may open at a time, and none if it is
// negative.
func TestStreamsAreBounded(t *testing.T) {
	open := func(streams, want int) error {
		tr, local, ctx := unix.NewWith(unix.Config{Streams: streams}), newLocal(t), t.Context()
		defer tr.Close()
		at := place(t)
		l, err := tr.Listen(ctx, local, at)
		if err != nil {
			return err
		}
		a, err := tr.Dial(ctx, local, local.Key.ID(), at)
		if err != nil {
			return err
		}
		defer a.Close(nil)
		b, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		defer b.Close(nil)
		for range want {
			if _, err := a.(conn.StreamConn).OpenStream(ctx); err != nil {
				return err
			}
			if _, err := b.(conn.StreamConn).AcceptStream(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if err := open(2, 2); err != nil {
		t.Error(err)
	}
	if err := open(2, 3); !errors.Is(err, conn.CodeLimit) {
		t.Errorf("the third of two streams = %v, want CodeLimit", err)
	}
	if err := open(-1, 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("OpenStream to who takes none = %v, want errors.ErrUnsupported", err)
	}
	if err := open(1<<20, 0); err == nil || !strings.Contains(err.Error(), "Config.Streams") {
		t.Errorf("Listen with too many streams = %v, want an error that names Config.Streams", err)
	}
}

func TestFileOfADeadListenerIsReplaced(t *testing.T) {
	tr, local := unix.New(), newLocal(t)
	defer tr.Close()
	at := stale(t)
	l, err := tr.Listen(t.Context(), local, at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := tr.Dial(t.Context(), local, local.Key.ID(), at)
	if err != nil {
		t.Fatal(err)
	}
	c.Close(nil)
}

func TestLiveListenersAndOtherFilesAreLeftAlone(t *testing.T) {
	tr, local := unix.New(), newLocal(t)
	defer tr.Close()
	at := place(t)
	kernel, err := net.Listen("unix", at.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	if _, err := tr.Listen(t.Context(), local, at); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen where somebody listens = %v, want EADDRINUSE", err)
	}
	dialRaw(t, at)

	other := place(t)
	if err := os.WriteFile(other.Path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Listen(t.Context(), local, other); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("Listen where a file is = %v, want an error that says so", err)
	}
	if text, err := os.ReadFile(other.Path); err != nil || string(text) != "kept" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// Of many that find a dead listener's file at the same moment, one takes its
// place, and its file stays.
func TestOneOfManyReplacesAFile(t *testing.T) {
	const many = 12
	at := stale(t)
	local := newLocal(t)
	var work sync.WaitGroup
	made := make(chan conn.Listener, many)
	for range many {
		tr := unix.New()
		defer tr.Close()
		work.Go(func() {
			if l, err := tr.Listen(context.Background(), local, at); err == nil {
				made <- l
			}
		})
	}
	work.Wait()
	if n := len(made); n != 1 {
		t.Fatalf("%d listen at one address, want 1", n)
	}
	dialRaw(t, at)
	(<-made).Close()
}

// A listener removes its own file alone.
func TestCloseLeavesTheFileOfAnother(t *testing.T) {
	tr, local := unix.New(), newLocal(t)
	defer tr.Close()
	at := place(t)
	l, err := tr.Listen(t.Context(), local, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(at.Path); err != nil {
		t.Fatal(err)
	}
	kernel, err := net.Listen("unix", at.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	dialRaw(t, at)
}

func TestAddressesSayWhatIsWrong(t *testing.T) {
	tr, local := unix.New(), newLocal(t)
	defer tr.Close()
	for _, at := range []identity.Address{
		{Scheme: "unix"}, {Scheme: "unix", Path: "/"}, {Scheme: "unix", Path: "/" + strings.Repeat("x", 90) + "/"}, {Scheme: "unix", Path: "relative"},
		{Scheme: "unix", Host: "h", Path: "/x"}, {Scheme: "unix", Path: "/" + strings.Repeat("x", 103)},
	} {
		if _, err := tr.Listen(t.Context(), local, at); err == nil || !strings.Contains(err.Error(), "path") {
			t.Errorf("Listen(%q) = %v, want an error that says what a path is like", at, err)
		}
	}
}
