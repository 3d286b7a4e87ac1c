package endpoint_test

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
)

// Who receives slowly holds back who sends, and nothing else: memory stays within
// the buffers, nothing is dropped, and the other direction goes on.
func TestSlowConsumer(t *testing.T) {
	for _, transport := range []string{"tcp", "quic", "mem"} {
		t.Run(transport, func(t *testing.T) {
			const size, back = 1000, 5000
			cfg := endpoint.Config{MaxMessage: 8 << 10, Buffer: 1 << 20, Window: 256 << 10}
			answered := make(chan struct{})
			taken := 0
			cfg.Receive = func([]byte) {
				if taken++; taken == back {
					close(answered)
				}
			}
			r := newRide(t, transport, 1, cfg, nil)
			if err := r.connect(); err != nil {
				t.Fatal(err)
			}
			message := func(n int) []byte {
				return append(binary.BigEndian.AppendUint64(nil, uint64(n)), make([]byte, size-8)...)
			}
			heap := heapInUse()
			sent := 0
			for full := 0; full < 50000; {
				err := r.ends[0].TrySend(message(sent + 1))
				switch {
				case err == nil:
					sent++
				case errors.Is(err, endpoint.ErrFull):
					full++
				default:
					t.Fatal(err)
				}
			}
			if want := cfg.Buffer / (size + 4); sent != want {
				t.Errorf("%d messages were taken in, want the %d of the buffer", sent, want)
			}
			blocked := make(chan error, 1)
			go func() { blocked <- r.ends[0].Send(t.Context(), message(sent+1)) }()
			for n := range back { // the other direction
				if err := r.ends[1].Send(t.Context(), message(n)); err != nil {
					t.Fatal(err)
				}
			}
			<-answered
			if len(blocked) != 0 {
				t.Errorf("Send has returned %v, and nothing was taken", <-blocked)
			}
			if grown := heapInUse() - heap; grown > int64(cfg.Buffer+cfg.Window+2<<20) {
				t.Errorf("the heap has grown by %d bytes", grown)
			}
			if s := r.ends[1].Stats(); s.Untaken*(size+4) > cfg.Window || s.Untaken == 0 {
				t.Errorf("%d messages wait at the slow end, more than a window", s.Untaken)
			}
			for n := range sent + 1 {
				p, err := r.ends[1].Recv(t.Context())
				if err != nil || binary.BigEndian.Uint64(p) != uint64(n+1) {
					t.Fatalf("%d came in place %d: %v", binary.BigEndian.Uint64(p), n+1, err)
				}
			}
			if err := <-blocked; err != nil {
				t.Error(err)
			}
			if err := r.ends[0].Flush(t.Context()); err != nil {
				t.Error(err)
			}
			r.finish()
		})
	}
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// One Send that has ended with its context has sent nothing.
func TestSendThatGaveUp(t *testing.T) {
	c := newCable(t, endpoint.Config{MaxMessage: 100, Buffer: 104})
	defer c.close()
	if err := c.ends[0].TrySend(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Millisecond, func() { cancel(cause) })
	if err := c.ends[0].Send(ctx, []byte("x")); err != cause {
		t.Errorf("Send = %v, want the cause of its context", err)
	}
	if s := c.ends[0].Stats(); s.Sent != 1 || s.Waiting != 1 {
		t.Errorf("%+v", s)
	}
}
