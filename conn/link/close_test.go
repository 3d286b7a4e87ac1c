package link_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// Close gives up what the other side does not take after CloseTimeout, and says
// so; the goodbye is within it. Every call returns the same.
func TestCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := with(noteHooks{Goodbye: func() (note, bool) { return note{Text: "bye"}, true }})
		c.CloseTimeout, c.MaxPending = 3*time.Second, 1
		a, b := net.Pipe()
		x, _ := linkOver(t, a, b, c, noteConfig{})
		for range 2 {
			must(t, x.Send(noContext, note{Text: "not taken"}))
			synctest.Wait()
		}
		start := time.Now()
		var work sync.WaitGroup
		for range 2 {
			work.Go(func() {
				if err := x.Close(); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
					t.Errorf("Close: %v after %v, want that it took too long, after CloseTimeout", err, time.Since(start))
				}
			})
		}
		work.Wait()
	})
}

// Close waits for a heartbeat that is being made.
func TestCloseJoinsHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := false
		a, b := net.Pipe()
		x, _ := linkOver(t, a, b, with(noteHooks{Heartbeat: link.Heartbeat[note]{Interval: time.Second, Message: func() note {
			time.Sleep(time.Minute)
			made = true
			return note{}
		}}}), noteConfig{})
		time.Sleep(2 * time.Second)
		_ = x.Close()
		if !made {
			t.Error("the heartbeat is still being made")
		}
	})
}

// Two goroutines that receive at the same time are told so; the link goes on.
func TestTwoReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := pipePair(t, noteConfig{})
		received := make(chan error)
		go func() { _, err := x.Recv(noContext); received <- err }()
		synctest.Wait()
		if _, err := x.Recv(noContext); err == nil {
			t.Error("a second Recv waits too")
		}
		if _, ok, err := x.TryRecv(); ok || err == nil {
			t.Errorf("TryRecv beside Recv: %v, %v", ok, err)
		}
		must(t, y.Send(noContext, note{}))
		must(t, <-received)
		must(t, y.Send(noContext, note{Text: "next"}))
		if v, err := x.Recv(noContext); err != nil || v.Text != "next" {
			t.Errorf("afterwards: %+v, %v", v, err)
		}
	})
}

// The halves do what the link does, and closing either closes it.
func TestHalves(t *testing.T) {
	for _, half := range []string{"receiver", "sender"} {
		x, y := linkPair(t, noteConfig{})
		rx, tx := x.Split()
		if ok, err := tx.TrySend(note{1, "a"}); !ok || err != nil {
			t.Fatalf("TrySend: %v, %v", ok, err)
		}
		must(t, tx.Flush(noContext))
		v, err := y.Recv(noContext)
		must(t, err)
		must(t, y.Send(noContext, v))
		ok := false
		for !ok && err == nil {
			v, ok, err = rx.TryRecv()
		}
		if err != nil || v != (note{1, "a"}) {
			t.Errorf("received %+v, %v", v, err)
		}
		if half == "receiver" {
			must(t, rx.Close())
		} else {
			must(t, tx.Close())
		}
		if !errors.Is(x.Err(), link.ErrClosed) || !errors.Is(tx.Send(noContext, note{}), link.ErrClosed) {
			t.Errorf("after Close of the %s: %v", half, x.Err())
		}
		if _, err := rx.Recv(noContext); !errors.Is(err, link.ErrClosed) {
			t.Errorf("after Close of the %s: Recv %v", half, err)
		}
	}
}
