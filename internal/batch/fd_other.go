//go:build !unix

package batch

// canReadFD says that readSocket works: here it does not.
const canReadFD = false

func readSocket(uintptr, []byte) (n int, again bool, err error) { panic("batch: not on this system") }
