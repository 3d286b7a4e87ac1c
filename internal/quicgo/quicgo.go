package quicgo

import (
	"os"
	"strings"
	"sync"
)

var quietOnce sync.Once

// Quiet keeps quic-go from printing to the standard logger that the socket
// buffers of the system are small; it has no other switch. Call it before the
// first socket.
func Quiet() {
	quietOnce.Do(func() {
		const name = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
		if _, ok := os.LookupEnv(name); !ok {
			_ = os.Setenv(name, "true") // then it prints
		}
	})
}

// maxReason bounds a close reason, in bytes.
const maxReason = 256

// Reason cuts a close reason to what is sent, and taken from a peer: 256 bytes, as
// valid UTF-8.
func Reason(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.ToValidUTF8(s, "")
}
