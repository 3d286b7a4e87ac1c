//go:build !linux && !darwin

package secure

// pollHangup does not know here.
func pollHangup(uintptr) bool { return false }
