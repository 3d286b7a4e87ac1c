// Command bare is a node of bare streams with a wire format of its own: a
// key-value store that speaks lines.
//
//	set colour blue    ok
//	get colour         blue
//	quit               bye
//
// Run it and talk to it with any program that sends lines:
//
//	go run ./examples/bare -listen 127.0.0.1:4100
//	nc 127.0.0.1 4100
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

// maxLine is the longest line, with its end.
const maxLine = 4 << 10

// banner is the handshake: who accepts says it, who dials expects it.
const banner = "bare 1\n"

// A Store is the protocol: what a raw.Node calls.
type Store struct {
	mu     sync.Mutex // guards values
	values map[string]string
}

// Handshake says the banner, or reads it.
func (s *Store) Handshake(_ context.Context, stream net.Conn, d conn.Direction) (net.Conn, error) {
	if d == conn.Incoming {
		_, err := io.WriteString(stream, banner)
		return stream, err
	}
	return stream, expectBanner(stream)
}

func expectBanner(stream net.Conn) error {
	got := make([]byte, len(banner))
	if _, err := io.ReadFull(stream, got); err != nil {
		return err
	}
	if string(got) != banner {
		return fmt.Errorf("bare: the other side says %q, want %q", got, banner)
	}
	return nil
}

// Lines are messages that end with a line feed; a carriage return before it does
// not count. It remembers how far it has looked, so that a line that comes byte by
// byte is not searched again and again.
type Lines struct{ seen int }

// NewDecoder makes the decoder of one connection.
func (s *Store) NewDecoder(raw.Info) raw.Decoder { return new(Lines) }

// NewEncoder makes the encoder of one connection.
func (s *Store) NewEncoder(raw.Info) raw.Encoder { return new(Lines) }

// Decode returns the first line.
func (l *Lines) Decode(data []byte) (int, []byte, error) {
	i := bytes.IndexByte(data[l.seen:], '\n')
	if i < 0 {
		l.seen = len(data)
		return 0, nil, nil
	}
	end := l.seen + i
	l.seen = 0
	return end + 1, bytes.TrimSuffix(data[:end:end], []byte("\r")), nil
}

// Encode appends a line.
func (l *Lines) Encode(dst, line []byte) ([]byte, error) {
	if bytes.IndexByte(line, '\n') >= 0 {
		return dst, errors.New("bare: a message is one line")
	}
	return append(append(dst, line...), '\n'), nil
}

// OnMessage answers a request.
func (s *Store) OnMessage(ctx context.Context, c *raw.Conn, line []byte) {
	verb, rest, _ := strings.Cut(string(line), " ")
	key, value, hasValue := strings.Cut(rest, " ")
	answer := "error: set <key> <value>, get <key>, or quit"
	s.mu.Lock()
	switch {
	case verb == "set" && hasValue:
		s.values[key] = value
		answer = "ok"
	case verb == "get" && !hasValue:
		answer = s.values[key]
	case verb == "quit":
		answer = "bye"
	}
	s.mu.Unlock()
	if err := c.SendWait(ctx, []byte(answer)); err == nil && verb == "quit" {
		c.Disconnect(nil)
	}
}

// OnDisconnect tells those that the server leaves.
func (s *Store) OnDisconnect(_ context.Context, c *raw.Conn, why *raw.EndError) {
	if errors.Is(why, raw.Shutdown) || errors.Is(why, raw.Idle) {
		_ = c.Send([]byte("bye: " + why.Origin.String())) // as far as it still goes
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *listen, os.Stdout, func(net.Addr) {}); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. It calls ready with the address.
func run(ctx context.Context, listen string, out io.Writer, ready func(net.Addr)) error {
	node, err := raw.New(&Store{values: make(map[string]string)}, raw.Config{
		Address: listen, MaxFrame: maxLine, MaxConns: 100, MaxPerPrefix: 10, IdleTimeout: time.Minute,
	})
	if err != nil {
		return err
	}
	addr, err := node.Listen(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening at", addr)
	ready(addr)
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = node.Shutdown(ctx)
	s := node.Stats()
	fmt.Fprintf(out, "%d connections, %d requests, %d bytes in and %d out\n", s.Opened, s.MessagesReceived, s.BytesReceived, s.BytesSent)
	return err
}
