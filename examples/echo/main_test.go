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
