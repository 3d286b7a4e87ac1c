package raw_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/plexus-net/plexus/conn/raw"
)

// Whatever comes, and in whatever pieces: the messages are those that the decoder
// finds in all of it at once, and the node lives.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x00\x01a\x00\x00\x00\x02bc"), uint8(1), false)
	f.Add([]byte("\x00\x05ab"), uint8(3), true)
	f.Add([]byte("\x00\x01a\xff\xff\x00\x01b"), uint8(2), false)
	f.Add([]byte("\x7f\x00 above MaxFrame"), uint8(9), true)
	f.Fuzz(func(t *testing.T, data []byte, piece uint8, queue bool) {
		const maxFrame = 64
		var want []string
		for rest := data; ; {
			n, msg, err := wire{}.Decode(rest)
			if n == 0 || n > maxFrame || err != nil {
				break
			}
			want = append(want, string(msg))
			rest = rest[n:]
		}
		var got []string
		config := raw.Config{MaxFrame: maxFrame}
		if queue {
			config.InQueue = 2
		}
		n, err := raw.New(&hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) { got = append(got, string(msg)) }}, config)
		if err != nil {
			t.Fatal(err)
		}
		here, there := net.Pipe()
		c, err := n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return here, nil })
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			k := min(1+int(piece), len(data))
			if _, err := there.Write(data[:k]); err != nil {
				break // refused by then
			}
			data = data[k:]
		}
		there.Close()
		<-c.Done()
		s := n.Stats()
		complete := fmt.Sprintf("%q", got) == fmt.Sprintf("%q", want)
		if dropped := int(s.Dropped); !complete && (dropped == 0 || len(got)+dropped != len(want) || s.DecodeErrors == 0) {
			t.Errorf("messages %q and %d dropped, want %q; ended with %v", got, dropped, want, c.Err())
		}
		if err := n.Shutdown(t.Context()); err != nil || s.Panics != 0 {
			t.Errorf("Shutdown: %v; %d panics", err, s.Panics)
		}
	})
}
