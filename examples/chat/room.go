package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

const (
	roomService = 70
	maxLine     = 1000 // bytes of text, and of a name
	maxSeen     = 4096 // lines remembered, so that none is shown twice
	maxShown    = 256  // lines that wait for the terminal; what is more is lost
)

// A Line is what somebody has typed.
type Line struct {
	ID   uint64 // random, so that a line that comes by two ways is shown once
	Name string // what the typist calls himself: nobody has checked it
	Text string
}

const said = behavior.Message[Line](1)

// A Room shows what others type, and passes it on to the neighbours it has not
// come from, so that everybody reads everything however the nodes are
// connected.
type Room struct {
	name  string
	shown chan string // lines for the terminal

	agent atomic.Pointer[agent.Behavior] // nil before the room runs
	seen  map[uint64]bool
	order []uint64 // of seen, the oldest first
}

// NewRoom returns the room as one typist sees it.
func NewRoom(name string) *Room {
	return &Room{name: name, shown: make(chan string, maxShown), seen: make(map[uint64]bool)}
}

// Describe names the service: nodes that have another chat under the same
// number have nothing in common with this one.
func (r *Room) Describe() behavior.Info { return behavior.Info{Name: "plexus/example/chat"} }

// OnStart makes the room ready for Say.
func (r *Room) OnStart(a *agent.Behavior) error {
	r.agent.Store(a)
	return nil
}

// Say sends a line to everybody. Call it from one goroutine.
func (r *Room) Say(ctx context.Context, text string) error {
	a := r.agent.Load()
	if a == nil {
		return agent.ErrStopped // or has not started
	}
	return a.Do(ctx, func() {
		line := Line{ID: a.Rand().Uint64(), Name: r.name, Text: text[:min(len(text), maxLine)]}
		r.remember(line.ID)
		if n, err := said.Broadcast(a, line); err != nil {
			r.print("* not sent: %v", err)
		} else if n == 0 {
			r.print("* nobody is here")
		}
	})
}

// OnConnect tells that somebody came.
func (r *Room) OnConnect(_ *agent.Behavior, c conn.Info) behavior.Handler {
	r.print("* %s is connected", c.Node.Short())
	return nil
}

// OnDisconnect tells that somebody left.
func (r *Room) OnDisconnect(_ *agent.Behavior, c conn.Info, _ error) {
	r.print("* %s has left", c.Node.Short())
}

// OnMessage shows a line, the first time that it comes, and passes it on.
func (r *Room) OnMessage(a *agent.Behavior, m *conn.Message) {
	line, err := said.Decode(m)
	if err != nil || len(line.Text) > maxLine || len(line.Name) > maxLine || r.seen[line.ID] {
		return
	}
	r.remember(line.ID)
	r.print("%s: %s", printable(line.Name), printable(line.Text))
	var others []identity.ConnID
	for _, c := range a.Conns() {
		if c.ID != m.Conn {
			others = append(others, c.ID)
		}
	}
	for _, id := range others {
		if err := said.Send(a, router.ToConn(id), line); err != nil {
			a.Log().Warn("line not passed on", "conn", id, "err", err)
		}
	}
}

// remember keeps the last lines in mind.
func (r *Room) remember(id uint64) {
	r.seen[id] = true
	if r.order = append(r.order, id); len(r.order) > maxSeen {
		delete(r.seen, r.order[0])
		r.order = r.order[1:]
	}
}

// print shows a line. Callbacks must not block, and a terminal may.
func (r *Room) print(format string, args ...any) {
	select {
	case r.shown <- fmt.Sprintf(format, args...):
	default:
	}
}

// printable takes out what would let others write all over the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return -1
	}, s)
}
