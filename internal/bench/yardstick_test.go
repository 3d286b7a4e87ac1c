package bench

import (
	"io"
	"testing"

	"github.com/plexus-net/plexus/internal/yardstick"
)

// yardHeader is how long the headers of the runtime's messages are.
const yardHeader = 9

// A yard is one end of the yardstick.
type yard struct {
	*yardstick.Writer
	r io.Reader
}

func newYard(s io.ReadWriter, yield bool) *yard {
	return &yard{yardstick.NewWriter(s, yardHeader, yield), s}
}

// receive calls f with each payload until the stream ends.
func (y *yard) receive(f func([]byte)) { y.receiveInto(nil, f) }

// receiveInto is receive with a buffer, of at least twice the largest frame.
func (y *yard) receiveInto(buf []byte, f func([]byte)) {
	_ = yardstick.Read(y.r, yardHeader, buf, func(p []byte) bool { f(p); return true }) // the stream ends
}

// yards returns the two ends of the yardstick over a transport.
func yards(b testing.TB, transport string, yield bool) (client, server *yard) {
	b.Helper()
	servers, ended := make(chan *yard), make(chan struct{})
	h := newHub(b, transport, func(s io.ReadWriter) {
		servers <- newYard(s, yield)
		<-ended
	})
	b.Cleanup(func() { close(ended) })
	s, end := h.spoke(b).open(b)
	b.Cleanup(end)
	client, server = newYard(s, yield), <-servers
	b.Cleanup(client.Close)
	b.Cleanup(server.Close)
	return client, server
}
