package durable

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

// A carrier of a number that is not higher than that of the one in use is of the
// past, and so is a life of the other end that another has followed.
func TestCarriersOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		attach := func(life byte, number uint64, want error) {
			t.Helper()
			if err := e.Attach(newTape(), stranger(life, e.Epoch(), 0), number, nil); err != want {
				t.Errorf("Attach of carrier %d of life %d = %v, want %v", number, life, err, want)
			}
			synctest.Wait()
		}
		attach(1, 2, nil)
		attach(1, 1, ErrStale)
		attach(1, 2, ErrStale)
		attach(1, 5, nil)
		attach(2, 1, nil)
		attach(1, 6, ErrStale)
		attach(2, 1, ErrStale)
		attach(2, 2, nil)
		e.End(io.EOF)
	})
}

// What the other end cannot know ends the carrier, or keeps it from being used; the
// channel lives on.
func TestWordsThatCannotBeTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnd(nil)
		defer e.End(io.EOF)
		e.Send(t.Context(), message(1, 0), false)
		number := uint64(0)
		attach := func(taken uint64) (*tape, error) {
			number++
			k := newTape()
			return k, e.Attach(k, stranger(1, e.Epoch(), taken), number, nil)
		}
		if _, err := attach(0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := attach(2); !errors.Is(err, ErrProtocol) {
			t.Errorf("Attach to an end that has got more than was sent = %v", err)
		}
		start := appendNumber(nil, typeStart, 1)
		for name, tt := range map[string]struct {
			in  []byte
			bad bool
		}{
			"the largest message":         {frame(start, typeData, make([]byte, 8<<10)), false},
			"a message that is too large": {frame(start, typeData, make([]byte, 8<<10+1)), true},
			"an ack of what was not sent": {appendNumber(start, typeAck, 2), true},
			"of another type":             {frame(start, 99, make([]byte, 8<<10)), false},
			"large, of another type":      {frame(start, 99, make([]byte, 8<<10+1)), true},
		} {
			k, err := attach(0)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			lost := len(e.lost)
			k.in <- tt.in
			synctest.Wait()
			if bad := len(e.lost) > lost; bad != tt.bad || bad && !errors.Is(e.lost[lost], ErrProtocol) {
				t.Errorf("%s: the carrier was given up: %t, %v", name, bad, e.lost[lost:])
			}
		}
	})
}

// A reason for the end may be longer than the messages are.
func TestReasonBeyondMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(c *Config) { c.MaxMessage = 16 })
		p.connect()
		p.ends[0].Finish(make([]byte, MaxReason))
		<-p.ends[0].Done()
		synctest.Wait()
		if got := p.ends[1].reasons; len(got) != 1 || len(got[0]) != MaxReason || !p.ends[0].Finished() {
			t.Errorf("%d reasons have come, finished: %t", len(got), p.ends[0].Finished())
		}
		<-p.ends[1].Done()
		p.end()
	})
}
