package rpc_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// TestUnneededWorkersEnd: after a burst only as many goroutines stay as the
// calls that follow need, and after the last call, or at the stop, all end. That
// they do is seen by the bubble, which waits for them.
func TestUnneededWorkersEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		release := make(chan int)
		server := &w.server[w.bob].Server
		server.HandleRaw("wait", rpc.Options{}, func(context.Context, []byte) ([]byte, error) { <-release; return nil, nil })
		call := func(method string) {
			if _, err := w.client[w.alice].CallRaw(t.Context(), router.ToNode(w.bob.id).At(70), method, nil); err != nil {
				t.Error(err)
			}
		}
		idle := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if n := rpc.Idle(server); n != want {
				t.Errorf("%s: %d goroutines wait for calls, want %d", when, n, want)
			}
		}
		burst := func(n int) {
			var wait sync.WaitGroup
			for range n {
				wait.Go(func() { call("wait") })
			}
			synctest.Wait()
			for range n {
				release <- 0
			}
			wait.Wait()
		}
		burst(50)
		idle("after a burst of 50", 50)
		for range 3 {
			burst(7)
		}
		idle("after some of 7", 50)
		for range 150 {
			time.Sleep(100 * time.Millisecond)
			call("echo")
		}
		idle("after 15 s with one call at a time", 1)
		time.Sleep(10 * time.Second)
		idle("10 s later", 0)
		call("echo")
		time.Sleep(4900 * time.Millisecond)
		call("echo")
		time.Sleep(4900 * time.Millisecond)
		idle("5 s after a call", 1)
		burst(10)
		idle("after a burst of 10", 10)
		w.bob.service(70).halt()
		idle("after the stop", 0)
	})
}
