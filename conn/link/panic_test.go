package link_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/conn/link"
)

// A panic of OnBlock, or of an observer of it, ends the link, whoever found no
// room.
func TestOnBlockPanics(t *testing.T) {
	boom := func() { panic("boom") }
	for name, c := range map[string]noteConfig{
		"hook":     with(noteHooks{OnBlock: boom}),
		"observer": {Observer: observerOf{link.Blocked, boom}},
	} {
		for _, send := range []func(*noteLink) error{
			func(x *noteLink) error { return x.Send(noContext, note{}) },
			func(x *noteLink) error { _, err := x.TrySend(note{}); return err },
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c.MaxPending = 1
					x, y := pipePair(t, c)
					for range 2 { // one is being written, one waits
						must(t, send(x))
						synctest.Wait()
					}
					wantPanic(t, send(x))
					<-x.Done()
					wantPanic(t, x.Err())
					_ = y.Close()
				})
			})
		}
	}
}

// A panic of OnError, or of an observer of the end, changes nothing of why the
// link ended, and is told by Close.
func TestOnErrorPanics(t *testing.T) {
	boom := func() { panic("boom") }
	for name, c := range map[string]noteConfig{
		"hook":     with(noteHooks{OnError: func(error) { boom() }}),
		"observer": {Observer: observerOf{link.Failed, boom}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			x, _ := linkOver(t, a, b, c, noteConfig{})
			why := errors.New("why")
			x.Abort(why)
			if _, err := x.Recv(noContext); err != why || x.Err() != why {
				t.Errorf("Recv: %v, Err: %v, want the cause", err, x.Err())
			}
			err := x.Close()
			wantPanic(t, err)
			if !errors.Is(err, why) {
				t.Errorf("Close: %v, want the cause too", err)
			}
		})
	}
}

// An observerOf does something when an event of its kind comes.
type observerOf struct {
	kind link.Kind
	do   func()
}

func (o observerOf) Observe(e link.Event) {
	if e.Kind == o.kind {
		o.do()
	}
}
