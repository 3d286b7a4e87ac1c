package quic_test

import (
	"context"
	"flag"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/internal/yardstick"
)

var capacity = flag.Int("quic.conns", 0, "run TestCapacity with so many connections, such as 10048, a multiple of 64: it takes a minute and 1 GB")

// TestCapacity holds many connections over one socket at each side, both in this
// process, and tells what one costs beside one of quic-go alone: both ends, a
// byte carried each way, idle.
func TestCapacity(t *testing.T) {
	if *capacity == 0 {
		t.Skip("give -quic.conns=10048 to run it")
	}
	raw := newRaw(t)
	rawCost := holdMany(t, "quic-go", func(ctx context.Context) (func(), error) {
		x, err := raw.dialer.Dial(ctx, raw.listen.Addr(), raw.config, nil)
		if err != nil {
			return nil, err
		}
		out, err := x.OpenUniStream()
		if err == nil {
			_, err = out.Write([]byte("x"))
		}
		return func() { x.CloseWithError(0, "") }, err
	}, func(ctx context.Context) error {
		y, err := raw.listen.Accept(ctx)
		if err != nil {
			return err
		}
		in, err := y.AcceptUniStream(ctx)
		if err == nil {
			_, err = in.Read(make([]byte, 1))
		}
		return err
	})
	e := newEnv(t)
	cost := holdMany(t, "conn", func(ctx context.Context) (func(), error) {
		x, err := e.dialer.Dial(ctx, e.local, e.local.Key.ID(), e.listen.Addr())
		if err != nil {
			return nil, err
		}
		_, err = x.Write([]byte("x"))
		return func() { x.Close(nil) }, err
	}, func(ctx context.Context) error {
		y, err := e.listen.Accept(ctx)
		if err != nil {
			return err
		}
		_, err = io.ReadFull(y, make([]byte, 1))
		return err
	})
	if beyond := (cost - rawCost) / 1024; beyond > 16 {
		t.Errorf("a connection costs %.1f KiB beyond quic-go's, want at most 16", beyond)
	}
}

// holdMany makes the connections, 64 at a time, and returns the bytes that one
// costs.
func holdMany(t *testing.T, what string, dial func(context.Context) (func(), error), accept func(context.Context) error) float64 {
	count := *capacity
	before, goroutines, began := yardstick.Memory(), runtime.NumGoroutine(), time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var work sync.WaitGroup
	for range 64 {
		work.Go(func() {
			for range count / 64 {
				if err := accept(ctx); err != nil {
					t.Errorf("%s: accept: %v", what, err)
					return
				}
			}
		})
	}
	var mu sync.Mutex // guards ends
	var ends []func()
	for range 64 {
		work.Go(func() {
			for range count / 64 {
				end, err := dial(ctx)
				if err != nil {
					t.Errorf("%s: dial: %v", what, err)
					cancel() // one is missing for those who accept
					return
				}
				mu.Lock()
				ends = append(ends, end)
				mu.Unlock()
			}
		})
	}
	work.Wait()
	took := time.Since(began)
	n := float64(len(ends))
	cost := float64(yardstick.Memory()-before) / n
	t.Logf("%s: %d connections: %.1f KiB and %.1f goroutines each for both ends, %.0f handshakes/s",
		what, len(ends), cost/1024, float64(runtime.NumGoroutine()-goroutines)/n, n/took.Seconds())
	for _, end := range ends {
		end()
	}
	return cost
}
