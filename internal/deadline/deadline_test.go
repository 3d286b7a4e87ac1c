package deadline_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/internal/deadline"
)

// Deadlines may be set while somebody waits, are missed at their time, and
// reading goes on after them.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline.Deadline
		if d.Passed() {
			t.Error("the zero value has passed")
		}
		d.Set(time.Now().Add(time.Hour))
		var work sync.WaitGroup
		start := time.Now()
		work.Go(func() { <-d.Wait() })
		synctest.Wait() // it waits for the one that is moved
		d.Set(time.Now().Add(time.Minute))
		work.Wait()
		if took := time.Since(start); took != time.Minute || !d.Passed() {
			t.Errorf("the deadline came after %v", took)
		}
		d.Set(time.Time{})
		if d.Passed() {
			t.Error("no deadline has passed")
		}
		d.Set(time.Now())
		if !d.Passed() {
			t.Error("a deadline now has not passed")
		}
		d.Set(time.Now().Add(time.Second))
		if d.Passed() {
			t.Error("a later deadline has passed")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !d.Passed() {
			t.Error("it has not passed in its time")
		}
	})
}

// A deadline may be moved in the moment in which it passes.
func TestMovedAsItPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			var d deadline.Deadline
			d.Set(time.Now().Add(time.Second))
			time.Sleep(time.Second) // the function of the timer has run, or has yet to
			d.Set(time.Now())
			d.Set(time.Time{})
			synctest.Wait()
			if d.Passed() {
				t.Fatal("there is none, but it has passed")
			}
		}
	})
}

// A Pair sets what it says, and nothing else.
func TestPair(t *testing.T) {
	past := time.Unix(1, 0)
	for _, c := range []struct {
		name          string
		set           func(*deadline.Pair, time.Time) error
		reads, writes bool
	}{
		{"SetDeadline", (*deadline.Pair).SetDeadline, true, true},
		{"SetReadDeadline", (*deadline.Pair).SetReadDeadline, true, false},
		{"SetWriteDeadline", (*deadline.Pair).SetWriteDeadline, false, true},
	} {
		var p deadline.Pair
		if err := c.set(&p, past); err != nil || p.Reads.Passed() != c.reads || p.Writes.Passed() != c.writes {
			t.Errorf("%s: reads passed %t, writes passed %t, %v; want %t, %t", c.name, p.Reads.Passed(), p.Writes.Passed(), err, c.reads, c.writes)
		}
		if err := c.set(&p, time.Time{}); err != nil || p.Reads.Passed() || p.Writes.Passed() {
			t.Errorf("%s: there are deadlines after none was set, %v", c.name, err)
		}
	}
}
