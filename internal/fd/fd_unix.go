//go:build unix

package fd

import (
	"os"
	"syscall"
)

// CanRead says that Read works.
const CanRead = true

// Read reads from a non-blocking socket; again: nothing was there.
func Read(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, os.NewSyscallError("read", err)
		}
	}
}
