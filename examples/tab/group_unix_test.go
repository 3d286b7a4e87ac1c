//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// newGroup starts a command in a process group of its own and returns what ends
// all of it: browsers are many processes.
func newGroup(c *exec.Cmd) (end func()) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}
