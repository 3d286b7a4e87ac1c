package raw_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
)

// What a full queue to OnMessage does, exactly. The first message is being
// processed while the others come.
func TestInboundPolicies(t *testing.T) {
	const messages = 25
	for _, tt := range []struct {
		name   string
		config raw.Config
		want   string
	}{
		{"newest", raw.Config{Inbound: raw.DropNewest, InQueue: 3}, "[0 1 2 3]"},
		{"oldest", raw.Config{Inbound: raw.DropOldest, InQueue: 3}, "[0 22 23 24]"},
		{"newest, queue of one", raw.Config{Inbound: raw.DropNewest, InQueue: 1}, "[0 1]"},
		{"newest, default queue", raw.Config{Inbound: raw.DropNewest}, "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24]"},
		{"block", raw.Config{}, "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24]"},
		{"block with a queue", raw.Config{InQueue: 3}, "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entered, goOn := make(chan struct{}), make(chan struct{})
			var got []int
			a, addr := listen(t, &hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) {
				if len(got) == 0 {
					close(entered)
					<-goOn
				}
				got = append(got, int(msg[0]))
			}}, tt.config)
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write(frame("\x00"))
			wait(t, entered, "the first message")
			for i := 1; i < messages; i++ {
				_, _ = c.Write(frame(string(rune(i))))
			}
			c.Close()
			drops := tt.config.Inbound != raw.Block
			if drops {
				until(t, "all are read", func() bool { return a.Stats().BytesReceived == 3*messages })
				until(t, "all are decided", func() bool {
					s := a.Stats()
					return s.MessagesReceived+s.Dropped+uint64(min(tt.config.InQueue+64*map[bool]int{true: 1}[tt.config.InQueue == 0], messages-1)) >= messages
				})
			}
			server := only(t, a)
			close(goOn)
			wait(t, server.Done(), "the end")
			if fmt.Sprint(got) != tt.want {
				t.Errorf("processed %v, want %v", got, tt.want)
			}
			if s := server.Stats(); int(s.MessagesReceived) != len(got) || int(s.Dropped) != messages-len(got) {
				t.Errorf("%d received and %d dropped, want %d and %d", s.MessagesReceived, s.Dropped, len(got), messages-len(got))
			}
		})
	}
}

// With Block the sender learns that nobody takes its messages.
func TestBlockHoldsBackTheSender(t *testing.T) {
	for _, queue := range []int{0, 3} {
		t.Run(fmt.Sprintf("queue %d", queue), func(t *testing.T) {
			goOn, done := make(chan struct{}), make(chan struct{})
			var once sync.Once
			_, addr := listen(t, &hooks{message: func(_ context.Context, c *raw.Conn, msg []byte) {
				once.Do(func() { <-goOn })
				if string(msg) == "last" {
					close(done)
				}
			}}, raw.Config{InQueue: queue})
			b := start(t, &hooks{}, raw.Config{})
			c := connect(t, b, addr)
			sent := 0
			for {
				if err := c.Send(make([]byte, 60000)); err == raw.ErrQueueFull {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if sent++; sent > 1000 {
					t.Fatal("1000 messages of 60 kB were taken, with a receiver that takes none")
				}
			}
			close(goOn)
			if err := c.SendWait(context.Background(), []byte("last")); err != nil {
				t.Fatal(err)
			}
			wait(t, done, "the last message")
		})
	}
}

// What waits when the connection is ended by this side is dropped, and counted.
func TestMessagesThatWaitAtTheEndAreCounted(t *testing.T) {
	entered, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a, addr := listen(t, &hooks{message: func(context.Context, *raw.Conn, []byte) {
		once.Do(func() { close(entered) })
		<-goOn
	}}, raw.Config{InQueue: 10})
	c := connect(t, start(t, &hooks{}, raw.Config{}), addr)
	for range 6 {
		if err := c.Send([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, entered, "the first message")
	until(t, "all are read", func() bool { return a.Stats().BytesReceived == 18 })
	server := only(t, a)
	server.Disconnect(nil)
	close(goOn)
	wait(t, server.Done(), "the end")
	if s := a.Stats(); s.MessagesReceived != 1 || s.Dropped != 5 {
		t.Errorf("%d received, %d dropped, want 1 and 5", s.MessagesReceived, s.Dropped)
	}
}

// A peer that has gone is not kept for as long as OnMessage likes: what waits has
// HookTimeout, and then the contexts end.
func TestWhatWaitsWhenThePeerGoesHasHookTimeout(t *testing.T) {
	for _, tt := range []struct {
		name              string
		each              time.Duration // that OnMessage takes
		received, dropped uint64
		took              time.Duration
	}{
		{"quick", time.Second / 2, 5, 0, 5 * time.Second / 2},
		{"slow", time.Second, 4, 1, 3*time.Second + 1}, // the fourth has just begun
		{"waits for its context", time.Hour, 1, 4, 3*time.Second + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &hooks{message: func(ctx context.Context, _ *raw.Conn, _ []byte) {
				select {
				case <-time.After(tt.each):
				case <-ctx.Done():
				}
			}}
			bubble(t, h, raw.Config{InQueue: 8, IdleTimeout: time.Second, HookTimeout: 3*time.Second + 1}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				there := open(t, l)
				c := only(t, n)
				for range 5 {
					if _, err := there.Write(frame("x")); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				there.Close()
				began := time.Now()
				<-c.Done()
				took := time.Since(began)
				if s := c.Stats(); took != tt.took || s.Dropped != tt.dropped || s.MessagesReceived != tt.received {
					t.Errorf("took %v with %d received and %d dropped, want %v, %d and %d", took, s.MessagesReceived, s.Dropped, tt.took, tt.received, tt.dropped)
				}
				if s := n.Stats(); s.Ended[raw.Peer] != 1 || s.HookTimeouts != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}
