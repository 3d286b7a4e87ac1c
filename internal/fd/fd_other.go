//go:build !unix

package fd

// CanRead says that Read works: on this system it does not.
const CanRead = false

// Read panics.
func Read(uintptr, []byte) (n int, again bool, err error) { panic("fd: not on this system") }
