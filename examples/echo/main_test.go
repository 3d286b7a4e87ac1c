package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEcho(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	l, err := link.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error)
	go func() { served <- serve(ctx, l) }()
	const lines = "one\ntwo\n\nthree\n"
	var out strings.Builder
	if err := send(ctx, l.Addr(), strings.NewReader(lines), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != lines {
		t.Errorf("got %q, want %q", out.String(), lines)
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("serve ended with %v, want that of its context", err)
	}
}

// What ends the sending before its input does is an error that says so: a line
// that is too long, wherever it is noticed, and a server that goes away.
func TestEchoFails(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	l, err := link.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- serve(ctx, l) }()
	longest := strings.Repeat("x", maxLine)
	for name, c := range map[string]struct{ in, want, out string }{
		"longest": {longest + "\nnext\n", "", longest + "\nnext\n"},
		"longer":  {"a\n" + longest + "x\nnext\n", "too large", "a\n"},
		"huge":    {"a\n" + longest + longest + "\nnext\n", "more than 65536 bytes", "a\n"},
	} {
		var out strings.Builder
		err := send(ctx, l.Addr(), strings.NewReader(c.in), &out)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if out.String() != c.out {
			t.Errorf("%s: %d bytes came back, want %d", name, out.Len(), len(c.out))
		}
	}
	stop()
	<-served

	ctx = t.Context()
	l, err = link.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if k, err := l.Accept(ctx); err == nil {
			_, _ = k.Recv(ctx)
			k.Close()
		}
	}()
	if err := send(ctx, l.Addr(), strings.NewReader("a\nb\n"), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "the server has closed") {
		t.Errorf("a server that goes away: %v", err)
	}
}
