package bench

import (
	"testing"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// News is an event of 8 bytes.
type news struct{ number int }

// A listener takes the events of one sender, in their order.
type listener struct {
	heard, want int
	wrong       bool
	room        chan struct{} // one for every eventStep events that have been heard
	done        chan struct{} // closed after want events
}

// The sender of events waits when more than eventWindow may be under way: that
// is below every limit. It looks only every so many events, so that looking
// costs nothing.
const (
	eventStep   = 256
	eventWindow = 8 * eventStep
)

func newListener() *listener {
	l := &listener{room: make(chan struct{}, eventWindow/eventStep), done: make(chan struct{})}
	for range cap(l.room) {
		l.room <- struct{}{}
	}
	return l
}

func (l *listener) hear(ev any) {
	n, ok := ev.(news)
	l.wrong = l.wrong || !ok || n.number != l.heard
	l.heard++
	if l.heard%eventStep == 0 {
		l.room <- struct{}{}
	}
	if l.heard == l.want {
		close(l.done)
	}
}

// An office is a behaviour that exchanges events with its handlers.
type office struct {
	listener *listener
	agent    *agent.Behavior
	handlers chan *agent.Handler
}

func (o *office) OnStart(a *agent.Behavior) error { o.agent = a; return nil }

func (o *office) OnMessage(*agent.Behavior, *conn.Message) {}

func (o *office) OnConnect(*agent.Behavior, conn.Info) behavior.Handler { return (*clerk)(o) }

func (o *office) OnEvent(_ *agent.Behavior, _ conn.Info, ev any) { o.listener.hear(ev) }

type clerk office

func (c *clerk) OnMessage(*agent.Handler, *conn.Message) {}

func (c *clerk) OnOpen(a *agent.Handler) { c.handlers <- a }

func (c *clerk) OnEvent(_ *agent.Handler, _ conn.Info, ev any) { c.listener.hear(ev) }

// BenchmarkEvent sends events of 8 bytes between a behaviour and the handler on
// an idle connection of it: notify to the handler, tell to the behaviour.
func BenchmarkEvent(b *testing.B) {
	b.Run("notify", func(b *testing.B) {
		events(b, func(o *office, h *agent.Handler) func(any) error {
			id := h.Info().ID
			return func(ev any) error { return o.agent.Notify(id, ev) }
		})
	})
	b.Run("tell", func(b *testing.B) {
		events(b, func(_ *office, h *agent.Handler) func(any) error { return h.Tell })
	})
}

func events(b *testing.B, sender func(*office, *agent.Handler) func(any) error) {
	o := &office{listener: newListener(), handlers: make(chan *agent.Handler, 1)}
	x := start(b, "tcp", map[identity.ServiceID]behavior.Behavior{service: o})
	x.connect(b, start(b, "tcp", map[identity.ServiceID]behavior.Behavior{service: &office{handlers: make(chan *agent.Handler, 1)}}))
	send, l := sender(o, <-o.handlers), o.listener
	l.want = b.N
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%eventStep == 0 {
			<-l.room
		}
		if err := send(news{i}); err != nil {
			b.Fatal(err)
		}
	}
	<-l.done
	b.StopTimer()
	if l.wrong {
		b.Fatal("events came in another order than they were sent")
	}
	rate(b)
}
