package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
)

// unacknowledged returns what an endpoint that has ended may not have got across.
func unacknowledged(e *endpoint.Endpoint) string { return fmt.Sprintf("%s", e.Unacknowledged()) }

// Close says so if the endpoint ends in another way than in good order, and what may
// not have arrived can be had.
func TestCloseOfWhatHasNotArrived(t *testing.T) {
	for name, end := range map[string]func(c *cable, cancel context.CancelFunc){
		"the context of New ends": func(_ *cable, cancel context.CancelFunc) { cancel() },
		"the peer closes too":     func(c *cable, _ context.CancelFunc) { c.ends[1].Close(c.t.Context(), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCable(t, endpoint.Config{Window: 1024, AckDelay: time.Millisecond})
				defer c.close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var err error
				if c.ends[0], err = endpoint.New(ctx, c.keys[0].ID(), c.keys[1].ID(), endpoint.Config{}); err != nil {
					t.Fatal(err)
				}
				c.mustConnect()
				var rest []string
				for i := range 6 {
					text := fmt.Sprint(i, strings.Repeat(" ", 500))
					if err := c.ends[0].Send(t.Context(), []byte(text)); err != nil {
						t.Fatal(err)
					}
					if i > 0 {
						rest = append(rest, text)
					}
				}
				c.recv(1, 1)
				time.Sleep(time.Second)
				if got := c.ends[0].Unacknowledged(); got != nil {
					t.Errorf("Unacknowledged = %q while the endpoint lives", got)
				}
				closed := make(chan error)
				go func() { closed <- c.ends[0].Close(t.Context(), nil) }()
				synctest.Wait()
				end(c, cancel)
				if err := <-closed; err == nil {
					t.Error("Close = nil")
				}
				if got := unacknowledged(c.ends[0]); got != fmt.Sprint(rest) {
					t.Errorf("Unacknowledged = %q, want %q", got, rest)
				}
			})
		})
	}
}

// A cause that is longer than the messages may be does not keep a channel from its
// end.
func TestCloseWithALongCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{MaxMessage: 16})
		defer c.close()
		c.mustConnect()
		if err := c.ends[0].Close(t.Context(), errors.New(strings.Repeat("a long reason ", 100))); err != nil {
			t.Errorf("Close = %v", err)
		}
		synctest.Wait()
		if cause := c.ends[1].Cause(); cause == nil || !strings.Contains(cause.Error(), "a long reason a long") {
			t.Errorf("Cause = %v", cause)
		}
	})
}

// Senders that wait for room take turns: a large message among many small ones
// waits for those before it only.
func TestSendersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{MaxMessage: 1 << 16, Buffer: 1<<16 + 4, AckDelay: time.Millisecond})
		defer c.close()
		c.mustConnect()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for {
				if _, err := c.ends[1].Recv(ctx); err != nil {
					return
				}
				time.Sleep(100 * time.Microsecond)
			}
		}()
		for range 4 {
			go func() {
				for c.ends[0].Send(ctx, make([]byte, 1000)) == nil {
				}
			}()
		}
		time.Sleep(time.Second)
		began := c.ends[0].Stats().Sent
		gone, cancelled := context.WithCancel(ctx)
		go func() { // one that gives up does not hold up the line
			time.Sleep(time.Millisecond)
			cancelled()
		}()
		if err := c.ends[0].Send(gone, make([]byte, 1<<16)); !errors.Is(err, context.Canceled) {
			t.Errorf("Send = %v", err)
		}
		if err := c.ends[0].Send(ctx, make([]byte, 1<<16)); err != nil {
			t.Error(err)
		}
		if sent := c.ends[0].Stats().Sent - began; sent > 100 {
			t.Errorf("%d messages went first", sent)
		}
		if err := c.ends[0].TrySend(nil); err != endpoint.ErrFull {
			t.Errorf("TrySend past a line = %v, want ErrFull", err)
		}
		cancel()
		time.Sleep(time.Second) // the receiver rests now and then
	})
}

// A message that was never on its way has no unknown fate when the peer starts
// anew: Deliver goes on waiting, and the new life takes it.
func TestDeliverToTheNextLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		defer c.close()
		c.mustConnect()
		fates := [2]chan error{make(chan error, 1), make(chan error, 1)}
		deliver := func(i int) {
			go func() { fates[i] <- c.ends[0].Deliver(t.Context(), []byte(fmt.Sprint(i))) }()
			synctest.Wait()
		}
		deliver(0)
		c.cut()
		synctest.Wait()
		deliver(1)
		old := c.ends[1]
		c.start(1, endpoint.Config{})
		c.mustConnect()
		if err := <-fates[0]; err != endpoint.ErrUnknownFate {
			t.Errorf("Deliver of a message under way = %v", err)
		}
		if got := c.recv(1, 1); got[0] != "1" {
			t.Errorf("the new life got %q", got)
		}
		if err := <-fates[1]; err != nil {
			t.Errorf("Deliver of one that was not = %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		old.Close(ctx, nil)
	})
}
