package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behavior/behaviortest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A typist runs a chat, types into it and reads what it shows.
type typist struct {
	t     *testing.T
	in    *io.PipeWriter
	shown *bufio.Scanner
	done  chan error
}

func start(ctx context.Context, t *testing.T, args ...string) *typist {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &typist{t, inW, bufio.NewScanner(outR), make(chan error, 1)}
	go func() {
		p.done <- run(ctx, args, inR, outW)
		inR.Close()
		outW.Close()
	}()
	return p
}

func (p *typist) types(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits for a line with text in it.
func (p *typist) sees(text string) string {
	p.t.Helper()
	for p.shown.Scan() {
		if strings.Contains(p.shown.Text(), text) {
			return p.shown.Text()
		}
	}
	p.t.Fatalf("%q never appeared", text)
	return ""
}

// leave ends the chat, and reads what is left.
func (p *typist) leave() {
	p.t.Helper()
	p.in.Close()
	for p.shown.Scan() {
	}
	if err := <-p.done; err != nil {
		p.t.Error(err)
	}
}

// TestChat: three people, two of whom are only connected through the third.
func TestChat(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	alice := start(ctx, t, "--name", "alice")
	address := strings.Fields(alice.sees("others join with"))[6]
	bob := start(ctx, t, "--name", "bob", "--join", address)
	bob.sees("others join with") // what is not read holds the terminal up
	alice.sees("is connected")
	bob.sees("is connected")
	carol := start(ctx, t, "--name", "carol", "--join", address)
	carol.sees("others join with")
	alice.sees("is connected")
	carol.sees("is connected")

	bob.types("hello")
	bob.types("") // says nothing
	alice.sees("bob: hello")
	carol.sees("bob: hello")
	carol.types("hi, \x1b[2Jbob")
	if got := bob.sees("carol: "); got != "carol: hi, [2Jbob" {
		t.Errorf("got %q", got)
	}
	alice.sees("carol: ")

	bob.leave()
	alice.sees("has left")
	carol.leave()
	alice.sees("has left")
	alice.types("anybody?")
	alice.sees("nobody is here")
	alice.leave()
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{{"--join", "nobody"}, {"--listen", "pigeon://x"}, {"--nonsense"}} {
		if err := run(t.Context(), args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// TestRules: what holds for every behaviour holds for a Room.
func TestRules(t *testing.T) {
	behaviortest.Run(t, func() behavior.Behavior { return NewRoom("test") })
}

// TestOnce: a line that comes by two ways is shown once, and the memory of lines
// is bounded.
func TestOnce(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	a, b := rec.Connect(conn.Info{Node: agenttest.Node("a")}), rec.Connect(conn.Info{Node: agenttest.Node("b")})
	r := NewRoom("c")
	if err := said.Send(rec.Behavior(), router.ToConn(a.ID), Line{ID: 1, Name: "x", Text: "y"}); err != nil {
		t.Fatal(err)
	}
	payload := rec.TakeCalls()[0].Message.Payload
	for _, from := range []conn.Info{a, b, a} {
		r.OnMessage(rec.Behavior(), rec.Message(from, said.Kind(), payload))
	}
	if got := <-r.shown; got != "x: y" || len(r.shown) != 0 {
		t.Errorf("got %q and %d more, want the line once", got, len(r.shown))
	}
	if got := rec.Take(); len(got) != 1 {
		t.Errorf("passed on as %q, want once, to the other neighbour", got)
	}
	for id := range uint64(2 * maxSeen) {
		r.remember(id)
	}
	if len(r.seen) != maxSeen || len(r.order) != maxSeen {
		t.Errorf("%d lines are remembered, want %d", len(r.seen), maxSeen)
	}
}
