//go:build !unix && !js

package main

import "os/exec"

// newGroup returns what ends a command.
func newGroup(c *exec.Cmd) (end func()) {
	return func() { _ = c.Process.Kill() }
}
