package raw_test

import (
	"context"
	"testing"

	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/internal/baseline"
)

// A hundred times up, some messages, and down: nothing is left of it.
func TestNothingIsLeftAfterAHundredCycles(t *testing.T) {
	const messages = 20
	baseline.Restored(t, func() {
		got := make(chan struct{}, messages)
		h := &hooks{message: func(context.Context, *raw.Conn, []byte) { got <- struct{}{} }}
		a, err := raw.New(h, raw.Config{Address: "127.0.0.1:0", InQueue: 4})
		if err != nil {
			t.Fatal(err)
		}
		b, err := raw.New(&hooks{}, raw.Config{})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := a.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := connect(t, b, addr.String())
		for range messages {
			if err := c.Send([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		for range messages {
			wait(t, got, "a message")
		}
		shutdown(t, a)
		shutdown(t, b)
	})
}
