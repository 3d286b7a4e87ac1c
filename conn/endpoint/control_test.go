package endpoint_test

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/faultproxy"
)

// The control of TestStorm: who just dials again and sends the message again
// whose write has failed, loses what was under way. If this test fails, the
// storm has no bite.
func TestWithoutResumptionMessagesAreLost(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			n := newNaive(t, transport, min(*stormMessages, 100000), *stormCuts)
			n.run()
			lost := n.messages - len(n.got)
			if lost == 0 {
				t.Errorf("nothing was lost of %d messages in %d cuts", n.messages, n.struck)
			}
			t.Logf("%s: %d messages, %d cuts: %d lost", transport, n.messages, n.struck, lost)
		})
	}
}

// A naive is a sender and a receiver that connect again, and do no more.
type naive struct {
	*road
	t              *testing.T
	messages, cuts int
	rng            *rand.Rand
	ctx            context.Context
	tasks          sync.WaitGroup
	over           chan struct{} // closed when the last message has come

	mu     sync.Mutex // guards what follows
	got    map[uint64]bool
	struck int
}

func newNaive(t *testing.T, transport string, messages, cuts int) *naive {
	return &naive{road: newRoad(t, transport, 5), t: t, messages: messages, cuts: cuts, rng: rand.New(rand.NewPCG(5, 5)),
		over: make(chan struct{}), got: map[uint64]bool{}}
}

func (n *naive) run() {
	ctx, stop := context.WithCancel(n.t.Context())
	n.ctx = ctx
	n.tasks.Go(func() {
		for {
			c, err := n.l.Accept(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				n.tasks.Go(func() { n.receive(c) })
			}
		}
	})
	n.send()
	stop()
	n.tasks.Wait()
}

// last is the number of the message behind the last.
const last = ^uint64(0)

// send sends all, each again until its write succeeds; and the last until it has
// come.
func (n *naive) send() {
	from := newLetterer(5, 0)
	var c conn.Conn
	write := func(p []byte) {
		frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)
		for {
			if c == nil {
				c = n.redial()
			}
			if _, err := c.Write(frame); err == nil {
				return
			}
			c.Close(nil)
			c = nil
		}
	}
	for i := range uint64(n.messages) {
		write(from.next(i + 1))
	}
	for {
		write(binary.BigEndian.AppendUint64(nil, last))
		select {
		case <-n.over:
			c.Close(nil)
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *naive) redial() conn.Conn {
	for {
		if c, err := n.dial(n.ctx); err == nil {
			n.tasks.Go(func() { _, err := io.Copy(io.Discard, c); c.Close(err) }) // sees its end
			return c
		}
		<-time.After(2 * time.Millisecond)
	}
}

// receive takes the messages of a connection. Every so many it has the road cut.
func (n *naive) receive(c conn.Conn) {
	defer c.Close(nil)
	stop := context.AfterFunc(n.ctx, func() { c.Close(nil) })
	defer stop()
	var head [4]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		p := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(c, p); err != nil {
			return
		}
		if number := binary.BigEndian.Uint64(p); number == last {
			close(n.over)
			return
		} else if n.note(number) {
			return
		}
	}
}

// note notes a message, and cuts; it reports whether the receiver has to do that
// itself.
func (n *naive) note(number uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.got[number] {
		n.t.Errorf("message %d has come twice", number)
	}
	n.got[number] = true
	if n.struck == n.cuts || len(n.got) < (n.struck+1)*n.messages/(2*n.cuts) {
		return false
	}
	n.struck++
	if len(n.breaks) == 0 {
		return true
	}
	n.breaks[n.rng.IntN(len(n.breaks))].do(n.rng, faultproxy.Up)
	return false
}
