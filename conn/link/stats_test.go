package link_test

import (
	"testing"

	"github.com/plexus-net/plexus/conn/link"
)

// Both sides count the same, to the byte, with what Skip keeps from Recv; and
// after the end, too.
func TestStats(t *testing.T) {
	a, b := tcpPair(t)
	skipping := bytesConfig{Hooks: func() link.Hooks[[]byte, []byte] {
		return link.Hooks[[]byte, []byte]{Skip: func(v []byte) bool { return len(v) == 0 }}
	}}
	x, y := linkOver(t, a, b, bytesConfig{}, skipping)
	for range 10 {
		must(t, x.Send(noContext, make([]byte, 100)))
		must(t, x.Send(noContext, nil))
	}
	for range 10 {
		_, err := y.Recv(noContext)
		must(t, err)
	}
	must(t, x.Close())
	if _, err := y.Recv(noContext); err == nil {
		t.Error("more than was sent")
	}
	must(t, y.Close())
	const messages, bytes = 20, 10*104 + 10*4
	s := x.Stats()
	if s.Writes < 1 || s.Writes > messages {
		t.Errorf("%d writes of %d messages", s.Writes, messages)
	}
	s.Writes = 0
	if want := (link.Stats{MessagesSent: messages, BytesSent: bytes}); s != want {
		t.Errorf("the sender counts %+v, want %+v", s, want)
	}
	if s, want := y.Stats(), (link.Stats{MessagesReceived: messages, BytesReceived: bytes}); s != want {
		t.Errorf("the receiver counts %+v, want %+v", s, want)
	}
}
