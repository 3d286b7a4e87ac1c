package raw_test

import (
	"context"
	"testing"

	"github.com/plexus-net/plexus/conn/raw"
)

// counting tells when it has been given so many messages.
type counting struct {
	wire
	want, got int
	all       chan struct{}
}

func (c *counting) OnMessage(context.Context, *raw.Conn, []byte) {
	if c.got++; c.got == c.want {
		c.got = 0
		c.all <- struct{}{}
	}
}

// Messages that go through sockets, from Send to OnMessage, allocate nothing: not
// one in fifty, which is room for buffers that the garbage collector took out of
// their pools.
func TestMessagesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools drop what they are given, by chance")
	}
	const messages, atMost = 1000, 20
	for _, tt := range []struct {
		name  string
		queue int
		send  func(c *raw.Conn, msg []byte) error
	}{
		{"Send", 0, (*raw.Conn).Send},
		{"SendNow", 0, (*raw.Conn).SendNow},
		{"SendWait", 0, func(c *raw.Conn, msg []byte) error { return c.SendWait(context.Background(), msg) }},
		{"to a queue", messages, (*raw.Conn).Send},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &counting{want: messages, all: make(chan struct{}, 1)}
			_, addr := listen(t, r, raw.Config{InQueue: tt.queue})
			c := connect(t, start(t, wire{}, raw.Config{}), addr)
			msg := make([]byte, 16)
			exchange := func() {
				for range messages {
					if err := tt.send(c, msg); err != nil {
						t.Fatal(err)
					}
				}
				<-r.all
			}
			exchange()
			if got := testing.AllocsPerRun(20, exchange); got > atMost {
				t.Errorf("%v allocations for %d messages from one end to the other, want at most %d", got, messages, atMost)
			}
		})
	}
}

// Neither do answers, which their callbacks write.
func TestAnswersAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools drop what they are given, by chance")
	}
	const answers, atMost = 500, 20
	_, addr := listen(t, &rally{send: (*raw.Conn).Send, left: -1}, raw.Config{})
	r := &rally{send: (*raw.Conn).Send, ended: make(chan struct{}, 1)}
	c := connect(t, start(t, r, raw.Config{}), addr)
	exchange := func() {
		r.left = answers
		if err := c.Send(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		<-r.ended
	}
	exchange()
	if got := testing.AllocsPerRun(20, exchange); got > atMost {
		t.Errorf("%v allocations for %d answers, want at most %d", got, answers, atMost)
	}
}
