package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/raw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTalkToTheStore(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out strings.Builder
	addr, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", &out, func(a net.Addr) { addr <- a }) }()
	var at net.Addr
	select {
	case at = <-addr:
	case err := <-ended:
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if err := expectBanner(c); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(c)
	for _, tt := range []struct{ request, answer string }{
		{"set colour light blue\n", "ok\n"},
		{"get colour\r\n", "light blue\n"},
		{"get nothing\n", "\n"},
		{"dance\n", "error: set <key> <value>, get <key>, or quit\n"},
	} {
		fmt.Fprint(c, tt.request)
		if got, err := lines.ReadString('\n'); got != tt.answer {
			t.Errorf("%q answers %q (%v), want %q", tt.request, got, err, tt.answer)
		}
	}
	stop()
	if got, err := lines.ReadString('\n'); got != "bye: shutdown\n" {
		t.Errorf("at the end it says %q (%v)", got, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := out.String(); !strings.Contains(got, "1 connections, 4 requests, 52 bytes in") {
		t.Errorf("it prints %q", got)
	}
}

func TestQuitEndsTheConversation(t *testing.T) {
	node, err := raw.New(&Store{values: make(map[string]string)}, raw.Config{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Shutdown(context.Background()) }()
	addr, err := node.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	client, err := raw.New(&asking{said: said}, raw.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Shutdown(context.Background()) }()
	c, err := client.Connect(t.Context(), addr.String()) // the same protocol from the other side
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send([]byte("quit")); err != nil {
		t.Fatal(err)
	}
	if got := <-said; got != "bye" {
		t.Errorf("the answer is %q", got)
	}
	<-c.Done()
	if err := c.Send([]byte("two\nlines")); err == nil {
		t.Error("sent after the end")
	}
}

// asking has the wire format of a Store, and hears the answers.
type asking struct {
	Store
	said chan string
}

func (a *asking) OnMessage(_ context.Context, _ *raw.Conn, line []byte) { a.said <- string(line) }

// However the bytes come, the lines are the same.
func FuzzLines(f *testing.F) {
	f.Add([]byte("get a\nset b c\r\nquit\n"), 3)
	f.Add([]byte("\n\r\n\r\r\n"), 1)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		want := decodeAll(data, len(data)+1)
		if got := decodeAll(data, 1+abs(step)%16); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("lines %q, want %q", got, want)
		}
	})
}

func abs(n int) int { return max(n, -n, 0) }

// decodeAll decodes what comes step bytes at a time.
func decodeAll(data []byte, step int) (lines []string) {
	var l Lines
	at := 0
	for end := 0; end < len(data); {
		end = min(end+step, len(data))
		for {
			n, line, err := l.Decode(data[at:end])
			if n == 0 || err != nil {
				break
			}
			lines = append(lines, string(line))
			at += n
		}
	}
	return lines
}

func TestLinesAreOneLine(t *testing.T) {
	var l Lines
	if b, err := l.Encode([]byte("before"), []byte("a\nb")); err == nil || !bytes.Equal(b, []byte("before")) {
		t.Errorf("Encode of two lines: %q, %v", b, err)
	}
}
