package batch_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/internal/batch"
)

// A prompt is a gate that takes so many bytes at once.
type prompt struct {
	*gate
	room  int
	fails error
	tried int // calls of TryWrite
}

func (p *prompt) TryWrite(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried++
	if p.fails != nil {
		return 0, p.fails
	}
	n := min(p.room, len(b))
	return p.got.Write(b[:n])
}

func answer(w *batch.Writer, s string) error {
	return w.AnswerFunc(func(dst []byte) ([]byte, error) { return append(dst, s...), nil })
}

// An answer is written by the caller as far as the stream takes it, and by a
// goroutine from there on, before all that comes later.
func TestAnswer(t *testing.T) {
	for room, want := range map[int]string{0: "", 1: "a", 2: "an", 6: "answer", 100: "answer"} {
		synctest.Test(t, func(t *testing.T) {
			p := &prompt{gate: newGate(), room: room}
			w := batch.New(p, batch.Config{})
			must(t, answer(w, "answer"))
			if got := p.text(); got != want {
				t.Errorf("room for %d: %q was written at once, want %q", room, got, want)
			}
			must(t, w.Append([]byte(" and")))
			must(t, answer(w, " more"))
			p.pass <- nil
			p.pass <- nil
			must(t, w.Flush(t.Context()))
			if got := p.text(); got != "answer and more" {
				t.Errorf("room for %d: %q was written", room, got)
			}
			if s := w.Stats(); p.tried != 1 || s.Frames != 3 || s.Bytes != 15 {
				t.Errorf("room for %d: tried %d times, %+v", room, p.tried, s)
			}
			synctest.Wait()
			if w.Holds() {
				t.Errorf("room for %d: an idle writer holds a buffer or a goroutine", room)
			}
		})
	}
}

// What a stream fails with is told, sticks, and leaves nothing behind.
func TestAnswerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("bad")
		var told []error
		p := &prompt{gate: newGate(), fails: bad}
		w := batch.New(p, batch.Config{OnError: func(err error) { told = append(told, err) }})
		if err := w.AnswerFunc(func([]byte) ([]byte, error) { return nil, io.ErrShortBuffer }); err != io.ErrShortBuffer {
			t.Errorf("an answer that cannot be encoded: %v", err)
		}
		must(t, answer(w, "answer"))
		if err := answer(w, "more"); err != bad {
			t.Errorf("an answer after the end: %v, want %v", err, bad)
		}
		if err := w.Flush(t.Context()); err != bad || len(told) != 1 || told[0] != bad {
			t.Errorf("Flush: %v; told of %v", err, told)
		}
		synctest.Wait()
		if w.Holds() {
			t.Error("a writer that failed holds a buffer or a goroutine")
		}
	})
}

// A stream that takes no bytes at once gets them as ever.
func TestAnswerIsAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		w := batch.New(g, batch.Config{})
		must(t, answer(w, "answer"))
		g.pass <- nil
		must(t, w.Flush(t.Context()))
		if got := g.text(); got != "answer" {
			t.Errorf("%q was written", got)
		}
	})
}

// A narrow stream takes any part at once, and all of it if one waits.
type narrow struct {
	mu  sync.Mutex
	got bytes.Buffer
}

func (n *narrow) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.got.Write(p)
}

func (n *narrow) TryWrite(p []byte) (int, error) { return n.Write(p[:rand.IntN(len(p)+1)]) }

// Answers of several goroutines among other frames: all arrive whole, those of each
// sender in order.
func TestAnswersInOrder(t *testing.T) {
	const senders, frames = 4, 5000
	n := &narrow{}
	w := batch.New(n, batch.Config{MaxFrames: 1 << 20, MaxBytes: 1 << 20})
	var work sync.WaitGroup
	for s := range senders {
		work.Go(func() {
			for i := range frames {
				frame := []byte{byte(s), byte(i >> 8), byte(i)}
				var err error
				if i%3 == 0 {
					err = w.Append(frame)
				} else {
					err = w.AnswerFunc(func(dst []byte) ([]byte, error) { return append(dst, frame...), nil })
				}
				must(t, err)
			}
		})
	}
	work.Wait()
	must(t, w.Flush(t.Context()))
	var next [senders]int
	for p := n.got.Bytes(); len(p) > 0; p = p[3:] {
		if i := int(p[1])<<8 | int(p[2]); int(p[0]) >= senders || i != next[p[0]] {
			t.Fatalf("frame %x, want %d of its sender", p[:3], next[p[0]])
		}
		next[p[0]]++
	}
	for s, got := range next {
		if got != frames {
			t.Errorf("%d frames of sender %d, want %d", got, s, frames)
		}
	}
}
