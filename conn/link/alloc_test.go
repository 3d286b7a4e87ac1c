package link_test

import (
	"context"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// Sending allocates nothing, receiving what is received, whatever the context.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ctx, stop := context.WithTimeout(noContext, time.Hour)
	defer stop()
	t.Run("borrowed", func(t *testing.T) { allocations(t, ctx, bytesConfig{Codec: link.Borrowed{}}, make([]byte, 256), 0) })
	t.Run("bytes", func(t *testing.T) { allocations(t, ctx, bytesConfig{}, make([]byte, 256), 1) })
	t.Run("large", func(t *testing.T) { allocations(t, ctx, bytesConfig{Codec: link.Borrowed{}}, make([]byte, 32<<10), 0) })
	t.Run("string", func(t *testing.T) { allocations(t, ctx, link.Config[string, string]{}, "some text", 1) })
	t.Run("struct", func(t *testing.T) {
		allocations(t, ctx, link.Config[order, order]{Codec: link.Binary[order, order]{}}, order{ID: 1}, 1)
	})
	t.Run("hooks", func(t *testing.T) {
		sent := 0
		allocations(t, ctx, link.Config[[]byte, []byte]{Codec: link.Borrowed{}, Hooks: func() link.Hooks[[]byte, []byte] {
			return link.Hooks[[]byte, []byte]{OnSend: func(*[]byte) {}, OnSent: func([]byte, error) { sent++ }, OnReceive: func([]byte) {}}
		}}, make([]byte, 256), 0)
	})
}

func allocations[T any](t *testing.T, ctx context.Context, c link.Config[T, T], v T, want float64) {
	t.Helper()
	x, y := linkPair(t, c)
	for _, ctx := range []context.Context{noContext, ctx} {
		got := testing.AllocsPerRun(500, func() {
			must(t, x.Send(ctx, v))
			_, err := y.Recv(ctx)
			must(t, err)
		})
		if got > want {
			t.Errorf("%v allocations to send and receive a message, want at most %v", got, want)
		}
	}
}
