package raw_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/internal/fd"
)

// stuck returns a connection whose other end does not read.
func stuck(t *testing.T, c raw.Config) (*raw.Conn, net.Conn) {
	t.Helper()
	n := start(t, &hooks{}, c)
	here, there := net.Pipe()
	t.Cleanup(func() { there.Close() })
	rc, err := n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return here, nil })
	if err != nil {
		t.Fatal(err)
	}
	return rc, there
}

func TestAFullQueueIsAnErrorAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config raw.Config
		taken  int // beside what is being written
	}{
		{"messages", raw.Config{OutMessages: 10}, 10},
		{"bytes", raw.Config{OutBytes: 100}, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, there := stuck(t, tt.config)
			if err := c.Send(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(there, make([]byte, 1)); err != nil { // it is being written now
				t.Fatal(err)
			}
			taken := 0
			for c.Send(make([]byte, 8)) == nil {
				taken++
			}
			if taken != tt.taken {
				t.Errorf("%d messages of 10 bytes were taken, want %d", taken, tt.taken)
			}
			if err := c.Send(nil); err != raw.ErrQueueFull {
				t.Errorf("one more: %v", err)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errBad)
			defer cancel()
			if err := c.SendWait(ctx, nil); !errors.Is(err, errBad) {
				t.Errorf("SendWait: %v, want the cause of its context", err)
			}
			sent := make(chan error, 3)
			for range 3 {
				go func() { sent <- c.SendWait(context.Background(), make([]byte, 8)) }()
			}
			want := (1+taken+3)*10 - 1
			if _, err := io.ReadFull(there, make([]byte, want)); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := wait(t, sent, "SendWait"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestDeliveriesResolveOnce(t *testing.T) {
	t.Run("as flushed", func(t *testing.T) {
		_, addr := listen(t, &hooks{}, raw.Config{})
		c := connect(t, start(t, &hooks{}, raw.Config{}), addr)
		d, err := c.SendTracked([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if s := c.Stats(); s.MessagesSent > 1 || s.BytesSent > 3 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("as failed, when the connection breaks", func(t *testing.T) {
		c, there := stuck(t, raw.Config{})
		d, err := c.SendTracked([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBad)
		if err := d.Wait(ctx); !errors.Is(err, errBad) || d.Err() != nil {
			t.Errorf("Wait with an ended context: %v; Err %v", err, d.Err())
		}
		there.Close()
		if err := d.Wait(t.Context()); !errors.Is(err, raw.Peer) || !errors.Is(d.Err(), raw.Peer) {
			t.Errorf("delivery: %v", err)
		}
	})
	t.Run("as torn down, when this side ends it", func(t *testing.T) {
		c, _ := stuck(t, raw.Config{HookTimeout: time.Millisecond})
		d, err := c.SendTracked([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		c.Disconnect(nil)
		if err := d.Wait(t.Context()); !errors.Is(err, raw.User) {
			t.Errorf("delivery: %v", err)
		}
		wait(t, c.Done(), "the end")
		if _, err := c.SendTracked(nil); !errors.Is(err, raw.User) {
			t.Errorf("SendTracked after the end: %v", err)
		}
	})
	t.Run("as refused, by the encoder", func(t *testing.T) {
		c, _ := stuck(t, raw.Config{})
		if _, err := c.SendTracked(make([]byte, 0xffff)); !errors.Is(err, errBad) {
			t.Errorf("SendTracked: %v", err)
		}
		if err := c.Err(); err != nil {
			t.Errorf("the connection ended: %v", err)
		}
	})
}

// With sockets that take little at a time every byte still goes through in order.
func TestTinySocketBuffers(t *testing.T) {
	const messages = 500
	var got bytes.Buffer
	all := make(chan struct{})
	a, addr := listen(t, &hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) {
		if got.Write(msg); got.Len() == messages*200 {
			close(all)
		}
	}}, raw.Config{SocketReadBuffer: 2048, SocketWriteBuffer: 2048})
	b := start(t, &hooks{}, raw.Config{SocketReadBuffer: 2048, SocketWriteBuffer: 2048, OutBytes: 1000})
	c := connect(t, b, addr)
	var want bytes.Buffer
	var deliveries []*raw.Delivery
	for i := range messages {
		msg := bytes.Repeat([]byte{byte(i)}, 200)
		want.Write(msg)
		if i%100 == 0 {
			if d, err := c.SendTracked(msg); err == nil {
				deliveries = append(deliveries, d)
				continue
			}
		}
		if err := c.SendWait(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, all, "all bytes")
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("other bytes arrived than were sent")
	}
	for _, d := range deliveries {
		if err := d.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if s := a.Stats(); s.MessagesReceived != messages || s.BytesReceived != messages*202 {
		t.Errorf("%+v", s.Stats)
	}
}

// Messages of one sender keep their order; those of several are not mixed up.
func TestManySendersOnOneConnection(t *testing.T) {
	const senders, each = 8, 500
	var next [senders]int
	total, all := 0, make(chan struct{})
	_, addr := listen(t, &hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) {
		who, i := int(msg[0]), int(msg[1])<<8|int(msg[2])
		if i != next[who] {
			t.Errorf("message %d of sender %d, want %d", i, who, next[who])
		}
		next[who]++
		if total++; total == senders*each {
			close(all)
		}
	}}, raw.Config{})
	c := connect(t, start(t, &hooks{}, raw.Config{}), addr)
	var done sync.WaitGroup
	for who := range senders {
		done.Go(func() {
			for i := range each {
				if err := c.SendWait(context.Background(), []byte{byte(who), byte(i >> 8), byte(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	wait(t, all, "all messages")
}

func TestLargeMessages(t *testing.T) {
	sum := make(chan int, 3)
	_, addr := listen(t, sizes{sum}, raw.Config{MaxFrame: 8 << 20})
	for _, ctx := range []context.Context{context.Background(), t.Context()} { // written through, and buffered
		c := connect(t, start(t, nil, raw.Config{}), addr)
		if err := c.SendWait(ctx, make([]byte, 3<<20)); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, sum, "the bytes"); got != 3<<20 {
			t.Errorf("%d bytes", got)
		}
	}
}

// sizes decodes messages of 3 MiB.
type sizes struct{ sum chan int }

func (s sizes) NewDecoder(raw.Info) raw.Decoder { return s }
func (s sizes) Decode(data []byte) (int, []byte, error) {
	if len(data) < 3<<20 {
		return 0, nil, nil
	}
	return 3 << 20, data[:3<<20], nil
}
func (s sizes) OnMessage(_ context.Context, _ *raw.Conn, msg []byte) { s.sum <- len(msg) }

// What is written by the sender itself keeps its place among the others.
func TestSendNowKeepsTheOrder(t *testing.T) {
	const messages = 2000
	next, all := 0, make(chan struct{})
	a, addr := listen(t, &hooks{message: func(_ context.Context, c *raw.Conn, msg []byte) {
		if i := int(msg[0])<<8 | int(msg[1]); i != next {
			t.Errorf("message %d, want %d", i, next)
		}
		if next++; next == messages {
			close(all)
		}
	}}, raw.Config{})
	c := connect(t, start(t, &hooks{}, raw.Config{}), addr)
	for i := range messages {
		send := c.Send
		if i%3 == 0 {
			send = c.SendNow
		}
		if err := send([]byte{byte(i >> 8), byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, all, "all messages")
	if err := c.SendNow(make([]byte, 0xffff)); !errors.Is(err, errBad) {
		t.Errorf("SendNow of what the encoder refuses: %v", err)
	}
	only(t, a).Disconnect(nil)
	wait(t, c.Done(), "the end")
	if err := c.SendNow(nil); !errors.Is(err, raw.Peer) {
		t.Errorf("SendNow after the end: %v", err)
	}
}

// Who waits for the stream and who does not: SendNow writes by itself where nobody
// else does, SendWait what is large if it may wait for ever.
func TestWhoSendsByItself(t *testing.T) {
	for _, tt := range []struct {
		name  string
		v     any
		size  int
		send  func(ctx context.Context, c *raw.Conn, msg []byte) error
		waits bool
	}{
		{"Send", &hooks{}, 9, func(_ context.Context, c *raw.Conn, msg []byte) error { return c.Send(msg) }, false},
		{"SendNow", &hooks{}, 9, func(_ context.Context, c *raw.Conn, msg []byte) error { return c.SendNow(msg) }, true},
		{"SendWait", nil, 16 << 10, func(_ context.Context, c *raw.Conn, msg []byte) error { return c.SendWait(context.Background(), msg) }, true},
		{"SendWait that may end", nil, 16 << 10, func(ctx context.Context, c *raw.Conn, msg []byte) error { return c.SendWait(ctx, msg) }, false},
		{"SendWait of little", nil, 16<<10 - 1, func(_ context.Context, c *raw.Conn, msg []byte) error { return c.SendWait(context.Background(), msg) }, false},
		{"SendWait with an encoder", &hooks{}, 16 << 10, func(_ context.Context, c *raw.Conn, msg []byte) error {
			return c.SendWait(context.Background(), msg)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.v, raw.Config{}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				there := open(t, l)
				defer there.Close()
				c := only(t, n)
				var sent atomic.Bool
				go func() {
					if err := tt.send(t.Context(), c, make([]byte, tt.size)); err != nil {
						t.Error(err)
					}
					sent.Store(true)
				}()
				synctest.Wait()
				if sent.Load() == tt.waits {
					t.Errorf("it waits for the stream: %t, want %t", !sent.Load(), tt.waits)
				}
				if _, err := io.ReadFull(there, make([]byte, tt.size)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A noted stream notes where the bytes lie that it is to write.
type noted struct {
	net.Conn
	wrote chan *byte
}

func (s noted) Write(p []byte) (int, error) {
	s.wrote <- &p[0]
	return s.Conn.Write(p)
}

// Large messages are written from where they are.
func TestLargeMessagesAreNotCopied(t *testing.T) {
	n := start(t, nil, raw.Config{})
	here, there := net.Pipe()
	defer there.Close()
	s := noted{here, make(chan *byte, 1)}
	c, err := n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return s, nil })
	if err != nil {
		t.Fatal(err)
	}
	msg := make([]byte, 1<<20)
	go func() { _, _ = io.CopyN(io.Discard, there, int64(len(msg))) }()
	if err := c.SendWait(context.Background(), msg); err != nil {
		t.Fatal(err)
	}
	if wait(t, s.wrote, "a write") != &msg[0] {
		t.Error("a message of 1 MiB was copied")
	}
}

// The first answer to what was read is written when Send returns, if the socket has
// room: by nobody else.
func TestAnswersAreWrittenAtOnce(t *testing.T) {
	if !fd.Works {
		t.Skip("not on this system")
	}
	const messages = 200
	var late int
	_, addr := listen(t, &hooks{message: func(_ context.Context, c *raw.Conn, msg []byte) {
		before := c.Stats().MessagesSent
		if err := c.Send(msg); err != nil {
			t.Error(err)
		}
		if c.Stats().MessagesSent != before+1 {
			late++
		}
	}}, raw.Config{})
	back := make(chan string, 1)
	c := connect(t, start(t, &hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) { back <- string(msg) }}, raw.Config{}), addr)
	for range messages {
		if err := c.Send([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, back, "an answer"); got != "hello" {
			t.Errorf("the answer is %q", got)
		}
	}
	if late > 0 {
		t.Errorf("%d of %d answers were left to others", late, messages)
	}
}

// Answers never wait: one that is larger than what the system takes does not keep
// its callback. It arrives whole, before the next.
func TestAnswersNeverWait(t *testing.T) {
	const requests, size = 3, 60_000
	served := make(chan byte, requests)
	_, addr := listen(t, &hooks{message: func(_ context.Context, c *raw.Conn, msg []byte) {
		if err := c.Send(bytes.Repeat(msg, size)); err != nil {
			t.Error(err)
		}
		served <- msg[0]
	}}, raw.Config{SocketWriteBuffer: 4 << 10})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	for i := range byte(requests) {
		if _, err := nc.Write([]byte{0, 1, i}); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, served, "a callback that does not wait"); got != i {
			t.Errorf("request %d was served, want %d", got, i)
		}
	}
	for i := range byte(requests) {
		p := make([]byte, 2+size)
		if _, err := io.ReadFull(nc, p); err != nil {
			t.Fatal(err)
		}
		if want := append([]byte{size >> 8, size & 0xff}, bytes.Repeat([]byte{i}, size)...); !bytes.Equal(p, want) {
			t.Errorf("the answer to %d is another", i)
		}
	}
}
