package link_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/link"
	"github.com/plexus-net/plexus/internal/batch"
)

// Busy-polling carries messages, ends with its context while it spins, and
// falls back to being woken.
func TestBusyPoll(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	a, b := tcpPair(t)
	if !batch.NewReader(a).CanTry() {
		t.Skip("not on this system")
	}
	for _, spin := range []time.Duration{time.Nanosecond, time.Second} {
		x, y := linkPair(t, bytesConfig{BusyPoll: spin})
		go func() {
			for v, err := range y.All(noContext) {
				if err != nil || y.Send(noContext, v) != nil {
					return
				}
			}
		}()
		for i := range 100 {
			must(t, x.Send(noContext, []byte{byte(i)}))
			if v, err := x.Recv(noContext); err != nil || v[0] != byte(i) {
				t.Fatalf("message %d: %v, %v", i, v, err)
			}
		}
		ctx, stop := context.WithCancel(noContext)
		go stop()
		if _, err := x.Recv(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Recv: %v, want the end of ctx", err)
		}
		must(t, x.Close())
		must(t, y.Close())
	}
	_ = b
}

// Busy-polling is refused where it cannot work, with the reason.
func TestBusyPollRefused(t *testing.T) {
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	x, y := net.Pipe()
	defer y.Close()
	if _, err := link.New(noContext, x, true, bytesConfig{BusyPoll: time.Millisecond}); !errors.Is(err, batch.ErrCannotTry) {
		t.Errorf("over net.Pipe: %v, want %v", err, batch.ErrCannotTry)
	}
	runtime.GOMAXPROCS(1)
	a, _ := tcpPair(t)
	if _, err := link.New(noContext, a, true, bytesConfig{BusyPoll: time.Millisecond}); err == nil || !strings.Contains(err.Error(), "GOMAXPROCS") {
		t.Errorf("with one processor: %v", err)
	}
}

// A Recv that finds nothing looks until BusyPoll is over, and no longer: then it
// waits to be woken.
func TestBusyPollEnds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	a, b := tcpPair(t)
	if !batch.NewReader(a).CanTry() {
		t.Skip("not on this system")
	}
	x, y := linkOver(t, a, b, bytesConfig{BusyPoll: time.Nanosecond}, bytesConfig{})
	for n := range uint64(3) {
		received := make(chan error)
		go func() { _, err := x.Recv(noContext); received <- err }()
		want := 9 * (n + 1) // until it looks at the clock for the second time
		for patience := time.Now().Add(10 * time.Second); x.Stats().Polls < want && time.Now().Before(patience); {
			runtime.Gosched()
		}
		must(t, y.Send(noContext, []byte("a")))
		must(t, <-received)
		if got := x.Stats().Polls; got != want {
			t.Errorf("after %d messages it has looked %d times in vain, want %d", n+1, got, want)
		}
	}
	must(t, x.Close())
}
