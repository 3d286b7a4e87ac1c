package secure

import "golang.org/x/sys/unix"

// pollHangup asks without waiting. POLLHUP is said as soon as no more comes.
func pollHangup(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLHUP != 0
}
