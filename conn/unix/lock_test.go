//go:build unix && !solaris && !aix

package unix_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	sys "golang.org/x/sys/unix"

	"github.com/plexus-net/plexus/conn/unix"
)

// Nothing is replaced, and nothing made, while another process may be at it.
func TestListenWaitsForTheDirectory(t *testing.T) {
	tr, local := unix.New(), newLocal(t)
	defer tr.Close()
	at := stale(t)
	before, err := os.Lstat(at.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(filepath.Dir(at.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := sys.Flock(int(dir.Fd()), sys.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := tr.Listen(ctx, local, at); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Listen in a directory that is locked = %v, want that its context has ended", err)
	}
	if now, err := os.Lstat(at.Path); err != nil || !os.SameFile(before, now) {
		t.Errorf("the file is another: %v", err)
	}
	if err := sys.Flock(int(dir.Fd()), sys.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	l, err := tr.Listen(t.Context(), local, at)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
