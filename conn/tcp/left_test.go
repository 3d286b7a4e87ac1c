package tcp

import (
	"errors"
	"io"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/baseline"
)

// A hundred times a listener, a connection and a stream: nothing is left of it.
func TestNothingIsLeftAfterAHundredCycles(t *testing.T) {
	baseline.Restored(t, func() {
		tr := New()
		l, local := listenLocal(t, tr, handshakes)
		a, err := tr.Dial(t.Context(), local, local.Key.ID(), l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
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
	})
}
