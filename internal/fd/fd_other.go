//go:build !unix

package fd

// Works says that Read and Write do: on this system they do not.
const Works = false

// Read panics.
func Read(uintptr, []byte) (n int, again bool, err error) { panic("fd: not on this system") }

// Write panics.
func Write(uintptr, []byte) (n int, err error) { panic("fd: not on this system") }
