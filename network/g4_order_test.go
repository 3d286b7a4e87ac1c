package network_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// inOrder checks that what is noted counts up from 0.
type inOrder struct {
	mu   sync.Mutex
	next map[string]int
	bad  []string
	done chan struct{}
	want int
	seen int
}

func newInOrder(want int) *inOrder {
	return &inOrder{next: make(map[string]int), want: want, done: make(chan struct{})}
}

func (o *inOrder) note(stream string, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if want := fmt.Sprint(o.next[stream]); text != want && len(o.bad) < 10 {
		o.bad = append(o.bad, fmt.Sprintf("%s: got %s, want %s", stream, text, want))
	}
	o.next[stream]++
	if o.seen++; o.seen == o.want {
		close(o.done)
	}
}

func (o *inOrder) check(t *testing.T) {
	t.Helper()
	get(t, o.done, "the last message")
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.bad {
		t.Error("out of order: ", s)
	}
}

func TestG4OrderKept(t *testing.T) {
	b := newBench(t)
	const n = 20000
	o := newInOrder(6 * n)
	pa, pb := newProbe(), newProbe()
	handlers := make(chan *agent.Handler, 1)
	pb.info.MaxQueue = 100 // queues fill, and senders wait
	pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
		return &handler{
			onOpen: func(a *agent.Handler) { handlers <- a },
			onMessage: func(a *agent.Handler, m *conn.Message) {
				o.note(fmt.Sprint("handler, kind ", m.Kind), string(m.Payload))
			},
			onEvent: func(_ *agent.Handler, _ conn.Info, ev any) { o.note("notified", fmt.Sprint(ev)) },
		}
	}
	pb.onMessage = func(_ *agent.Behavior, m *conn.Message) {
		o.note(fmt.Sprint("behaviour, kind ", m.Kind), string(m.Payload))
	}
	pb.onEvent = func(_ *agent.Behavior, _ conn.Info, ev any) { o.note("posted", fmt.Sprint(ev)) }
	na, nb := b.with(1, pa), b.with(2, pb)
	connect(t, na, nb)
	ca, cb := get(t, pa.connected, "a"), get(t, pb.connected, "b")
	get(t, handlers, "OnOpen")

	ctx := soon(t)
	var group sync.WaitGroup
	run := func(f func(i int) error) {
		group.Go(func() {
			for i := range n {
				if err := f(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	text := func(i int) []byte { return fmt.Append(nil, i) }
	run(func(i int) error { return pa.a.SendWait(ctx, router.ToConn(ca.ID), 1, text(i)) })
	run(func(i int) error { return pa.a.SendWait(ctx, router.ToConn(ca.ID), 2, text(i)) })
	run(func(i int) error { return pa.a.SendWait(ctx, router.ToNode(nb.Self()), 3, text(i)) })
	run(func(i int) error { return pb.a.SendWait(ctx, router.ToNode(nb.Self()), 4, text(i)) })
	run(func(i int) error { return pb.a.Post(ctx, i) })
	run(func(i int) error { return notifyWait(ctx, pb.a, cb, i) })
	group.Wait()
	o.check(t)
}

// notifyWait is Notify that yields to the receiver while its queue is full.
func notifyWait(ctx context.Context, a *agent.Behavior, c conn.Info, ev any) error {
	for {
		if err := a.Notify(c.ID, ev); err != agent.ErrQueueFull || ctx.Err() != nil {
			return err
		}
		if err := a.Do(ctx, func() {}); err != nil {
			return err
		}
	}
}

// What arrives while OnConnect still runs keeps its order, whatever way it came.
func TestG4OrderKeptWhileOpening(t *testing.T) {
	for _, withHandler := range []bool{false, true} {
		t.Run(fmt.Sprintf("handler=%v", withHandler), func(t *testing.T) {
			bubble(t, func(t *testing.T) { orderWhileOpening(t, withHandler) })
		})
	}
}

func orderWhileOpening(t *testing.T, withHandler bool) {
	b := newBench(t)
	pa, pb := newProbe(), newProbe()
	var j journal
	goOn := make(chan struct{})
	taken := &part{j: new(journal), take: func(m *conn.Message) bool { return m.Kind == 9 }}
	pb.parts = []behavior.Part{taken}
	pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
		<-goOn
		if withHandler {
			return &handler{onMessage: func(_ *agent.Handler, m *conn.Message) { j.add("handler %s", m.Payload) }}
		}
		return nil
	}
	pb.onMessage = func(_ *agent.Behavior, m *conn.Message) { j.add("behaviour %s", m.Payload) }
	na, nb := b.with(1, pa), b.with(2, pb)
	connect(t, na, nb)
	ca := get(t, pa.connected, "a")
	na.table.mu.Lock()
	na.table.near = nb.Self()
	na.table.mu.Unlock()
	ways := []router.Route{router.ToConn(ca.ID), router.ToNode(nb.Self())}
	for i := range 6 {
		if err := pa.a.Send(ways[i%2], 1, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := pa.a.Send(ways[0], 9, []byte("for the part")); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	close(goOn)
	synctest.Wait()
	if withHandler { // two receivers: no order between them
		lines := j.lines()
		slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
		if want := []string{"behaviour 1", "behaviour 3", "behaviour 5", "handler 0", "handler 2", "handler 4", "handler for the part"}; !slices.Equal(lines, want) {
			t.Errorf("arrived %q, want %q", lines, want)
		}
		return
	}
	j.want(t, "behaviour 0", "behaviour 1", "behaviour 2", "behaviour 3", "behaviour 4", "behaviour 5")
	if len(taken.took) != 1 {
		t.Errorf("the part took %q", taken.took)
	}
}

// Messages that go by key do not overtake messages to the node.
func TestG4OrderKeptAcrossRoutes(t *testing.T) {
	b := newBench(t)
	const n = 3000
	o := newInOrder(3 * n)
	pa, pb := newProbe(), newProbe()
	pb.info.MaxQueue = 4 * n
	open := make(chan struct{}, 1)
	pb.onMessage = func(_ *agent.Behavior, m *conn.Message) {
		if m.Kind == 9 {
			open <- struct{}{}
			return
		}
		o.note("all", string(m.Payload))
	}
	na, nb := b.with(1, pa), b.with(2, pb)
	connect(t, na, nb)
	ca := get(t, pa.connected, "a")
	get(t, pb.connected, "b")
	na.table.mu.Lock()
	na.table.near = nb.Self()
	na.table.mu.Unlock()
	ways := []router.Route{router.ToConn(ca.ID), router.ToNode(nb.Self()), router.ToKey(nb.Self().Key())}
	ctx := soon(t)
	// While the connection opens, messages by key do overtake: let one message
	// say that it is open.
	if err := pa.a.Send(ways[0], 9, nil); err != nil {
		t.Fatal(err)
	}
	get(t, open, "the first message")
	for i := range 3 * n {
		if err := pa.a.SendWait(ctx, ways[i%3], 1, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	o.check(t)
}
