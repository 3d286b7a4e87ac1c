package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

func newWorld(rate float64) *World {
	way := &Path{Latency: fixed, Rate: rate}
	return New(1, time.Hour, func(*Host, *Host) *Path { return way })
}

// Whoever waits on a host that crashes ends with it, also who was about to go
// on, or to do so after a pause; and nobody outlives the world: goleak looks.
func TestNobodyOutlivesTheirHost(t *testing.T) {
	for name, crash := range map[string]func(w *World, h *Host, wake chan struct{}){
		"who waits":     func(_ *World, h *Host, _ chan struct{}) { h.Crash() },
		"who was woken": func(_ *World, h *Host, wake chan struct{}) { close(wake); h.poll(); h.Crash() },
		"who was woken in a pause": func(w *World, h *Host, wake chan struct{}) {
			h.Pause()
			close(wake)
			h.poll()
			w.Sleep(time.Second)
			h.Crash()
		},
		"with the world":             func(*World, *Host, chan struct{}) {},
		"with the world, in a pause": func(w *World, h *Host, wake chan struct{}) { h.Pause(); close(wake); h.poll(); w.Sleep(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(0)
			h, wake := w.NewHost(), make(chan struct{})
			ended, went := false, false
			h.Go(func() {
				defer func() { ended = true }()
				h.Wait(wake, nil, nil)
				went = true
			})
			w.Go(func() { w.Do(func() { _ = w.Sleep(time.Minute) }) }) // sleeps with the world
			if err := w.Sleep(time.Second); err != nil {
				t.Fatal(err)
			}
			crash(w, h, wake)
			_ = w.Sleep(time.Second)
			w.Close()
			if !ended || went {
				t.Errorf("ended: %t, went on: %t; want it to end without going on", ended, went)
			}
		})
	}
}

// A write that waits for the rate of its path heeds its deadline.
func TestWriteDeadline(t *testing.T) {
	w := newWorld(8e6) // a byte for each microsecond
	defer w.Close()
	var ends [2]conn.Conn
	var locals [2]conn.Local
	hosts := [2]*Host{w.NewHost(), w.NewHost()}
	for i := range locals {
		key, err := identity.PrivateKeyFromSeed(append(make([]byte, 31), byte(i)))
		if err != nil {
			t.Fatal(err)
		}
		locals[i].Key = key
	}
	addr := identity.Address{Scheme: Scheme, Host: hosts[1].Name}
	l, err := hosts[1].Transport().Listen(t.Context(), locals[1], addr)
	if err != nil {
		t.Fatal(err)
	}
	if ends[0], err = hosts[0].Transport().Dial(context.Background(), locals[0], locals[1].Key.ID(), addr); err != nil {
		t.Fatal(err)
	}
	if ends[1], err = l.Accept(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := ends[0].Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := ends[0].SetWriteDeadline(hosts[0].Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := ends[0].Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write behind a second of others, within 100 ms: %v, want a missed deadline", err)
	}
	if err := ends[0].SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := ends[0].Write([]byte("x")); err != nil {
		t.Errorf("a write without a deadline: %v", err)
	}
}

func fixed(*rand.Rand) time.Duration { return time.Millisecond }
