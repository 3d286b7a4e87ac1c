package tcp

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/plexus-net/plexus/conn"
)

// descriptors counts those of the process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

// A hundred times a listener, a connection and a stream leave no descriptor
// behind; goroutines are counted after all tests.
func TestNoDescriptorsAreLeft(t *testing.T) {
	cycle := func() {
		tr := New()
		l, local := listenLocal(t, tr, handshakes)
		a, b := join(t, tr, l, local)
		out, err := a.(conn.StreamConn).OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in, err := b.(conn.StreamConn).AcceptStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(a.Close(nil), b.Close(nil), tr.Close()); err != nil { // and with them the streams
			t.Fatal(err)
		}
	}
	cycle() // the poller of the runtime has descriptors, too
	before := descriptors(t)
	for range 100 {
		cycle()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, want %d as before", after, before)
	}
}
