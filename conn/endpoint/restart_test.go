package endpoint_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/endpoint"
)

// A history is what two ends have done, beside what is known of it from outside.
type history struct {
	*cable
	t     *testing.T
	rng   *rand.Rand
	up    bool
	sides [2]side
	old   []*endpoint.Endpoint
	steps []string
}

// A side is what one end has sent in its present life, and got from the present
// life of the other.
type side struct {
	life    int
	sent    []string // to the present life of the other end, numbered from 1
	offered int      // of them, those that were put on a connection
	maybe   int      // those that may have been
	got     int      // messages of the other end's present life that Recv has returned
	sure    int      // of sent, those whose acknowledgement must have come
}

// Random histories of sending, receiving, cuts and restarts of either end:
// messages of unknown fate are exactly those that were put on a connection and
// not acknowledged, and the rest goes to the new life.
func TestRestartsAgainstAModel(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			h := &history{cable: newCable(t, endpoint.Config{}), t: t, rng: rand.New(rand.NewPCG(seed, 0))}
			for range 80 {
				h.step()
				if t.Failed() {
					t.Fatalf("seed %d: %v", seed, h.steps)
				}
			}
			h.connected()
			for i := range h.sides {
				h.drain(i, len(h.sides[1-i].sent))
			}
			h.close()
			for _, e := range h.old {
				e.Disconnect(nil)
			}
			if t.Failed() {
				t.Fatalf("seed %d: %v", seed, h.steps)
			}
		})
	}
}

func (h *history) note(format string, a ...any) { h.steps = append(h.steps, fmt.Sprintf(format, a...)) }

// step runs in a bubble: it does something at random.
func (h *history) step() {
	i := h.rng.IntN(2)
	s := &h.sides[i]
	switch k := h.rng.IntN(10); {
	case k < 4:
		n := 1 + h.rng.IntN(5)
		h.note("%d sends %d", i, n)
		for range n {
			text := fmt.Sprintf("%d/%d:%d/%d", i, s.life, h.sides[1-i].life, len(s.sent)+1)
			if err := h.ends[i].Send(h.t.Context(), []byte(text)); err != nil {
				h.t.Fatal(err)
			}
			s.sent = append(s.sent, text)
		}
	case k < 6:
		n := h.ends[i].Stats().Untaken
		h.drain(i, s.got+h.rng.IntN(n+1))
	case k < 7:
		h.note("a second")
		time.Sleep(time.Second)
		if h.up {
			for i := range h.sides {
				h.sides[i].sure = h.sides[1-i].got
			}
		}
	case k < 8 && !h.up && h.rng.IntN(2) == 0:
		h.note("flicker")
		h.mustConnect()
		for i := range h.sides {
			h.sides[i].maybe = len(h.sides[i].sent)
		}
		h.cut()
	case k < 8:
		h.note("cut")
		h.cut()
		h.up = false
	case k < 9:
		h.connected()
	default:
		h.restart(i)
	}
	synctest.Wait()
	if h.up {
		for i := range h.sides {
			h.sides[i].offered, h.sides[i].maybe = len(h.sides[i].sent), len(h.sides[i].sent)
		}
	}
}

// connected connects the ends, if they are not.
func (h *history) connected() {
	if h.up {
		return
	}
	h.note("connect")
	h.mustConnect()
	h.up = true
	synctest.Wait()
	for i := range h.sides {
		n := len(h.sides[i].sent)
		h.sides[i].offered, h.sides[i].maybe, h.sides[i].sure = n, n, h.sides[1-i].got
	}
}

// drain has Recv of an end called until it has got n messages.
func (h *history) drain(i, n int) {
	s, other := &h.sides[i], &h.sides[1-i]
	for s.got < n {
		p, err := h.ends[i].Recv(h.t.Context())
		if err != nil || string(p) != other.sent[s.got] {
			h.t.Errorf("end %d got %q, %v in place %d, want %q", i, p, err, s.got, other.sent[s.got])
			return
		}
		s.got++
	}
	h.note("%d has got %d", i, s.got)
}

// restart lets an end start anew, and looks at what the other is told.
func (h *history) restart(i int) {
	h.note("%d starts anew", i)
	s, other := &h.sides[i], &h.sides[1-i]
	met := h.ends[i].Stats().Connections > 0
	waits := h.ends[1-i].Stats().Waiting
	untaken := h.ends[1-i].Stats().Untaken
	h.old = append(h.old, h.ends[i])
	h.start(i, endpoint.Config{})
	h.cut()
	h.up = false
	*s = side{life: s.life + 1, sent: nil}
	h.mustConnect()
	h.up = true
	synctest.Wait()
	former := other.got + untaken // what the former life has sent, and came
	for range former - other.got {
		if _, err := h.ends[1-i].Recv(h.t.Context()); err != nil {
			h.t.Errorf("what came before the restart: %v", err)
		}
	}
	var unknown [][]byte
	if met {
		var restart *endpoint.RestartError
		if _, err := h.ends[1-i].TryRecv(); !errors.As(err, &restart) {
			h.t.Errorf("end %d is told %v, want a restart", 1-i, err)
			return
		}
		unknown = restart.Unknown
	}
	other.got = 0
	acked := len(other.sent) - waits
	if n := acked + len(unknown); acked < other.sure || n < other.offered || n > other.maybe {
		h.t.Errorf("of %d messages %d to %d were put on a connection, %d acknowledged (at least %d): %d of unknown fate", len(other.sent), other.offered, other.maybe, acked, other.sure, len(unknown))
		return
	}
	for k, p := range unknown {
		if want := other.sent[acked+k]; string(p) != want {
			h.t.Errorf("of unknown fate is %q in place %d, want %q", p, k, want)
		}
	}
	other.sent = other.sent[acked+len(unknown):]
	other.offered, other.maybe, other.sure = len(other.sent), len(other.sent), 0
}
