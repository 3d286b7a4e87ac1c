package link_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// An attempt that is not answered ends with ConnectTimeout, and the next one
// comes after RetryAfter.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, at := time.Now(), []time.Duration(nil)
		ctx, stop := context.WithTimeout(noContext, 10*time.Second)
		defer stop()
		_, err := link.Connect(ctx, func(ctx context.Context) (link.Stream, error) {
			at = append(at, time.Since(start))
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}, bytesConfig{ConnectTimeout: 3 * time.Second})
		if err == nil || len(at) != 3 || at[1] != 4*time.Second || at[2] != 8*time.Second {
			t.Errorf("attempts at %v, %v; want one every 4 s", at, err)
		}
	})
}

// Panics in what Connect calls are its error: of a stream that cannot be made,
// and of Retry.
func TestConnectPanics(t *testing.T) {
	ctx, stop := context.WithCancel(noContext)
	defer stop()
	_, err := link.Connect(ctx, func(context.Context) (link.Stream, error) { stop(); panic("boom") }, bytesConfig{})
	wantPanic(t, err)
	down := errors.New("down")
	_, err = link.Connect(noContext, func(context.Context) (link.Stream, error) { return nil, down },
		bytesConfig{Retry: func(int, error) time.Duration { panic("boom") }})
	wantPanic(t, err)
	if !errors.Is(err, down) {
		t.Errorf("%v does not tell why it was to be tried again", err)
	}
}
