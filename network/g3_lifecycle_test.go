package network_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// diary is a probe that writes down the life of its connections.
func diary(j *journal) *probe {
	p := newProbe()
	p.admit = func(_ *agent.Behavior, c conn.Peer) error { j.add("admit %s", c.Direction); return nil }
	p.onConnect = func(_ *agent.Behavior, c conn.Info) behavior.Handler {
		j.add("connect %d", c.ID)
		return &handler{
			onOpen:    func(a *agent.Handler) { j.add("open %d", a.Info().ID) },
			onMessage: func(a *agent.Handler, m *conn.Message) { j.add("handler %d %s", a.Info().ID, m.Payload) },
			onEvent:   func(a *agent.Handler, _ conn.Info, ev any) { j.add("notified %d %v", a.Info().ID, ev) },
			onClose: func(a *agent.Handler, cause error) {
				j.add("close %d %v", a.Info().ID, cause != nil)
				if err := a.Tell("last words"); err != nil {
					j.add("tell failed: %v", err)
				}
			},
		}
	}
	p.onMessage = func(_ *agent.Behavior, m *conn.Message) { j.add("behaviour %d %s", m.Conn, m.Payload) }
	p.onEvent = func(_ *agent.Behavior, from conn.Info, ev any) { j.add("event %d %v", from.ID, ev) }
	p.onDisconnect = func(_ *agent.Behavior, c conn.Info, cause error) { j.add("disconnect %d %v", c.ID, cause != nil) }
	return p
}

func TestG3PairedConnectDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		pa, pb := newProbe(), diary(&j)
		na, nb := b.with(1, pa), b.with(2, pb)
		pa.onConnect = func(a *agent.Behavior, c conn.Info) behavior.Handler {
			for _, to := range []router.Route{router.ToConn(c.ID), router.ToNode(nb.Self())} {
				if err := a.Send(to, 1, []byte("hi")); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		connect(t, na, nb)
		cb := get(t, pb.connected, "OnConnect")
		synctest.Wait()
		if err := pb.a.Notify(cb.ID, "event"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		na.close()
		get(t, pb.lost, "OnDisconnect")
		lines := j.lines()
		// Handler and behaviour are two receivers: no order between them.
		i, k := slices.Index(lines, "behaviour 1 hi"), slices.Index(lines, "open 1")
		if i < 0 || k < 0 || i < slices.Index(lines, "connect 1") {
			t.Fatalf("happened: %q", lines)
		}
		lines = slices.Delete(lines, i, i+1)
		if want := []string{"admit incoming", "connect 1", "open 1", "handler 1 hi", "notified 1 event", "close 1 true", "event 1 last words", "disconnect 1 true"}; !slices.Equal(lines, want) {
			t.Errorf("happened:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Whatever ends a connection, and whenever, the order of its life stays.
func TestG3UnderChurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		pa, pb := newProbe(), diary(&j)
		dice := rand.New(rand.NewPCG(1, 2))
		na, nb := b.with(1, pa), b.with(2, pb)
		pa.onConnect = func(a *agent.Behavior, c conn.Info) behavior.Handler {
			for i := range c.ID % 50 {
				_ = a.Send([]router.Route{router.ToConn(c.ID), router.ToNode(nb.Self())}[i%2], 1, []byte("x")) // the end may come first
			}
			return nil
		}
		const rounds = 100
		for range rounds {
			info, err := na.Connect(soon(t), nb.peer())
			if err != nil {
				t.Fatal(err)
			}
			switch dice.IntN(4) {
			case 0:
				if err := pa.a.Close(info.ID, errors.New("enough")); err != nil {
					t.Fatal(err)
				}
			case 1:
				for _, c := range nb.State().Conns {
					_ = pb.a.Close(c.ID, nil) // perhaps nobody is there yet
				}
			case 2:
				b.net.Cut(na.Self(), nb.Self())
				b.net.Heal(na.Self(), nb.Self())
			case 3:
				synctest.Wait()
				b.net.Cut(na.Self(), nb.Self())
				b.net.Heal(na.Self(), nb.Self())
			}
			// Some rounds leave the connection open: end them all.
			_ = pa.a.Close(info.ID, nil)
			get(t, pa.connected, "a: OnConnect")
			get(t, pa.lost, "a: OnDisconnect")
			time.Sleep(3 * time.Second)
		}
		synctest.Wait()
		// A cut may end a connection that only a has opened yet.
		if n := checkLives(t, j.lines()); n < rounds/2 || n > rounds {
			t.Errorf("%d connections lived at b, want up to %d", n, rounds)
		}
	})
}

// checkLives checks what a diary holds and returns how many connections it
// tells of.
func checkLives(t *testing.T, lines []string) int {
	t.Helper()
	type life struct{ connect, open, close, told, disconnect int }
	lives := make(map[identity.ConnID]*life)
	lastID := identity.ConnID(0)
	for at, line := range lines {
		var what string
		var id identity.ConnID
		if strings.HasPrefix(line, "admit") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%s %d", &what, &id); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		l := lives[id]
		if what == "connect" {
			if l != nil || id <= lastID {
				t.Errorf("connection ID %d after %d", id, lastID)
			}
			lastID = id
			lives[id] = &life{connect: at + 1}
			continue
		}
		if l == nil {
			t.Errorf("%q comes before OnConnect", line)
			continue
		}
		if l.disconnect != 0 {
			t.Errorf("%q comes after OnDisconnect", line)
		}
		switch what {
		case "open":
			if l.open != 0 {
				t.Errorf("%q comes twice", line)
			}
			l.open = at + 1
		case "close":
			if l.close != 0 || l.open == 0 {
				t.Errorf("%q comes twice, or without OnOpen", line)
			}
			l.close = at + 1
		case "handler", "notified":
			if l.open == 0 || l.close != 0 {
				t.Errorf("%q does not come between OnOpen and OnClose", line)
			}
		case "event":
			l.told = at + 1
		case "disconnect":
			l.disconnect = at + 1
		}
	}
	for id, l := range lives {
		if l.disconnect == 0 || (l.open != 0) != (l.close != 0) || (l.close != 0) != (l.told != 0) {
			t.Errorf("connection %d: %+v", id, *l)
		}
	}
	return len(lives)
}

// An agent that outlives its handler's connection tells nothing any more.
func TestG3TellAfterDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		kept := make(chan *agent.Handler, 1)
		pa, pb := newProbe(), newProbe()
		var j journal
		pb.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
			return &handler{onOpen: func(a *agent.Handler) { kept <- a }}
		}
		pb.onEvent = func(_ *agent.Behavior, from conn.Info, ev any) { j.add("event %d %v", from.ID, ev) }
		na, nb := b.with(1, pa), b.with(2, pb)
		connect(t, na, nb)
		h := get(t, kept, "OnOpen")
		if err := h.Tell("while open"); err != nil {
			t.Fatal(err)
		}
		na.close()
		get(t, pb.lost, "OnDisconnect")
		if err := h.Tell("too late"); !errors.Is(err, agent.ErrNoConn) {
			t.Errorf("Tell after the end: %v, want ErrNoConn", err)
		}
		if err := h.Reply(1, nil); !errors.Is(err, agent.ErrNoConn) {
			t.Errorf("Reply after the end: %v, want ErrNoConn", err)
		}
		synctest.Wait()
		j.want(t, "event 1 while open")
	})
}

// A part hears of the end of a connection before its behaviour does.
func TestG3PartDisconnectFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var j journal
		pa, pb := newProbe(), newProbe()
		pb.parts = []behavior.Part{&part{j: &j}}
		pb.onStart = func(*agent.Behavior) error { j.add("start"); return nil }
		pb.onStop = func(*agent.Behavior) { j.add("stop") }
		pb.onDisconnect = func(*agent.Behavior, conn.Info, error) { j.add("disconnect") }
		na, nb := b.with(1, pa), b.with(2, pb)
		connect(t, na, nb)
		get(t, pb.connected, "OnConnect")
		na.close()
		get(t, pb.lost, "OnDisconnect")
		nb.close()
		j.want(t, "part start", "start", "part disconnect", "disconnect", "stop", "part stop")
	})
}

// A part takes messages that begin with its mark.
type part struct {
	j    *journal
	take func(*conn.Message) bool
	mu   sync.Mutex
	took []string
}

func (p *part) Take(_ *agent.Behavior, m *conn.Message) bool {
	if p.take == nil || !p.take(m) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took = append(p.took, string(m.Payload))
	return true
}

func (p *part) PartStart(*agent.Behavior)                        { p.j.add("part start") }
func (p *part) PartStop(*agent.Behavior)                         { p.j.add("part stop") }
func (p *part) PartDisconnect(*agent.Behavior, conn.Info, error) { p.j.add("part disconnect") }
func (p *part) PartReport(_ *agent.Behavior, r agent.Report)     { p.j.add("part report %d", r.ID) }
