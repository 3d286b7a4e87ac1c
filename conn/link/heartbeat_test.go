package link_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

func beating(misses int) noteConfig {
	return with(noteHooks{Heartbeat: link.Heartbeat[note]{Interval: time.Second, Misses: misses, Message: func() note { return note{Text: "beat"} }}})
}

// Heartbeats are sent every Interval, neither more nor fewer, and keep a link
// alive on which nothing else is sent.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := pipePair(t, beating(2))
		ctx, stop := context.WithTimeout(noContext, 60*time.Second+time.Millisecond)
		defer stop()
		counts := make(chan int, 2)
		for _, l := range []*noteLink{x, y} {
			go func() {
				n := 0
				for v, err := range l.All(ctx) {
					if errors.Is(err, context.DeadlineExceeded) {
						break
					}
					if err != nil || v.Text != "beat" {
						t.Errorf("received %+v, %v", v, err)
						break
					}
					n++
				}
				counts <- n
			}()
		}
		for range 2 {
			if n := <-counts; n != 60 {
				t.Errorf("%d heartbeats in a minute, want 60", n)
			}
		}
		must(t, x.Close())
		must(t, y.Close())
	})
}

// Silence ends a link, with a cause that says so, after exactly as many
// intervals as may be missed: but only where somebody listens.
func TestHeartbeatsMissed(t *testing.T) {
	for name, c := range map[string]struct {
		listen func(*noteLink) error
		want   time.Duration
	}{
		// The first interval does not count: when it began nobody waited yet.
		"waiting": {func(l *noteLink) error { _, err := l.Recv(noContext); return err }, 4 * time.Second},
		"polling": {poll, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, y := pipePair(t, with(noteHooks{Heartbeat: link.Heartbeat[note]{Interval: time.Second, Misses: 3}}))
				start := time.Now()
				err := c.listen(x)
				if d := time.Since(start); !errors.Is(err, link.ErrSilent) || d.Truncate(time.Second) != c.want {
					t.Errorf("%v after %v, want %v after %v", err, d, link.ErrSilent, c.want)
				}
				time.Sleep(time.Hour)
				if y.Err() != nil {
					t.Errorf("where nobody receives the link ended: %v", y.Err())
				}
				_ = x.Close()
				must(t, y.Close())
			})
		})
	}
}

// poll runs in a bubble.
func poll(l *noteLink) error {
	for {
		if _, ok, err := l.TryRecv(); ok || err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Intervals that are missed count in a row: what comes in between starts anew.
func TestMissesInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := pipePair(t, with(noteHooks{Heartbeat: link.Heartbeat[note]{Interval: time.Second, Misses: 3}}))
		start := time.Now()
		go func() {
			time.Sleep(3500 * time.Millisecond) // two are missed by now
			must(t, y.Send(noContext, note{}))
		}()
		_, err := x.Recv(noContext)
		must(t, err)
		if _, err := x.Recv(noContext); !errors.Is(err, link.ErrSilent) || time.Since(start) != 7*time.Second {
			t.Errorf("%v after %v, want %v after three more, at 7 s", err, time.Since(start), link.ErrSilent)
		}
		_ = x.Close()
		must(t, y.Close())
	})
}
