package secure

import "golang.org/x/sys/unix"

// pollHangup asks without waiting.
func pollHangup(fd uintptr) bool {
	const end = unix.POLLRDHUP | unix.POLLHUP | unix.POLLERR
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&end != 0
}
