//go:build unix && !solaris && !aix

package unix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Waiting for the lock of a directory, which is held for a few system calls.
const (
	lockPause   = 2 * time.Millisecond
	lockTimeout = 2 * time.Second
)

// locked runs f while no other process that asks is in the same directory: to
// look whether a socket is dead and to replace it are two steps.
func locked(ctx context.Context, dir string, f func() error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fmt.Errorf("another program holds a lock on %s", dir))
	defer cancel()
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f() // closing d unlocks
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return f() // a file system without locks
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// premode gives the file its mode before it is there: Linux takes it from the
// socket.
func premode(raw syscall.RawConn, mode uint32) error {
	return raw.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), mode) }) // elsewhere it may fail, and bind sets it after
}
