package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn/link"
)

// A note is the message of these tests.
type note struct {
	Number int
	Text   string
}

type (
	noteHooks  = link.Hooks[note, note]
	noteConfig = link.Config[note, note]
	noteLink   = link.Link[note, note]
)

func with(h noteHooks) noteConfig { return noteConfig{Hooks: func() noteHooks { return h }} }

// Messages are stamped in the order in which they leave, and each link starts
// anew; what the factory refers to is shared.
func TestStampAndState(t *testing.T) {
	session := struct {
		sync.Mutex
		links int
	}{}
	config := noteConfig{Hooks: func() noteHooks {
		session.Lock()
		session.links++
		session.Unlock()
		next := 0
		return noteHooks{OnSend: func(v *note) { next++; v.Number = next }}
	}}
	for range 2 {
		a, b := tcpPair(t)
		x, y := linkOver(t, a, b, config, noteConfig{})
		var work sync.WaitGroup
		const senders, each = 4, 250
		for range senders {
			work.Go(func() {
				for range each {
					must(t, x.Send(noContext, note{Text: "x"}))
				}
			})
		}
		for want := 1; want <= senders*each; want++ {
			v, err := y.Recv(noContext)
			must(t, err)
			if v.Number != want {
				t.Fatalf("message %d came as number %d", v.Number, want)
			}
		}
		work.Wait()
	}
	if session.links != 2 {
		t.Errorf("the session has seen %d links, want 2", session.links)
	}
}

// Logins work on the bare stream and on the link, at both ends; who is refused
// gets no link, and reads why if it was told.
func TestLogin(t *testing.T) {
	for _, password := range []string{"right", "wrong"} {
		t.Run(password, func(t *testing.T) {
			client := with(noteHooks{
				OnStream: func(ctx context.Context, s link.Stream, dialled bool) (link.Stream, error) {
					if !dialled {
						t.Error("the client is told that it was dialled")
					}
					_, err := io.WriteString(s, "v1\n")
					return s, err
				},
				OnLogin: func(ctx context.Context, l *noteLink) error {
					if err := l.Send(ctx, note{Text: password}); err != nil {
						return err
					}
					answer, err := l.Recv(ctx)
					if err == nil && answer.Text != "welcome" {
						err = errors.New(answer.Text)
					}
					return err
				},
			})
			server := with(noteHooks{
				OnStream: func(ctx context.Context, s link.Stream, dialled bool) (link.Stream, error) {
					p := make([]byte, 3)
					_, err := io.ReadFull(s, p)
					if err == nil && string(p) != "v1\n" {
						err = errors.New("another version")
					}
					return s, err
				},
				OnLogin: func(ctx context.Context, l *noteLink) error {
					v, err := l.Recv(ctx)
					if err != nil {
						return err
					}
					if v.Text != "right" {
						_ = l.Send(ctx, note{Text: "no such user"}) // it is refused anyhow
						return errors.New("refused")
					}
					return l.Send(ctx, note{Text: "welcome"})
				},
			})
			s := listen(t, server)
			l, err := link.Dial(noContext, "tcp", s.Addr(), client)
			if password == "wrong" {
				if err == nil || !strings.Contains(err.Error(), "no such user") {
					t.Errorf("Dial: %v, want what the server said", err)
				}
				return
			}
			must(t, err)
			defer l.Close()
			k, err := s.Accept(noContext)
			must(t, err)
			defer k.Close()
			exchange(t, l, k, note{1, "a"}, note{2, "b"})
			if !l.Info().Dialled || k.Info().Dialled || l.Info().Remote != k.Info().Local {
				t.Errorf("%+v and %+v", l.Info(), k.Info())
			}
		})
	}
}

// A login that stalls ends with LoginTimeout, whichever hook it is in.
func TestLoginTimeout(t *testing.T) {
	for name, h := range map[string]noteHooks{
		"stream": {OnStream: func(ctx context.Context, s link.Stream, _ bool) (link.Stream, error) {
			_, err := s.Read(make([]byte, 1))
			return s, err
		}},
		"link":         {OnLogin: func(ctx context.Context, l *noteLink) error { _, err := l.Recv(ctx); return err }},
		"link, no ctx": {OnLogin: func(ctx context.Context, l *noteLink) error { _, err := l.Recv(noContext); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				defer b.Close()
				c := with(h)
				c.LoginTimeout = 3 * time.Second
				start := time.Now()
				_, err := link.New(noContext, a, true, c)
				if err == nil || time.Since(start) != 3*time.Second {
					t.Errorf("%v after %v, want an error after LoginTimeout", err, time.Since(start))
				}
				if _, err := b.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the stream is left open: %v", err)
				}
			})
		})
	}
}

// Replies are sent by themselves, and Skip keeps from Recv what they answer;
// with TryRecv too.
func TestReplyAndSkip(t *testing.T) {
	ping := func(v note) bool { return v.Text == "ping" }
	var seen []string
	a, b := tcpPair(t)
	x, y := linkOver(t, a, b, noteConfig{}, with(noteHooks{
		OnReceive: func(v note) { seen = append(seen, v.Text) },
		Reply:     func(v note) (note, bool) { return note{v.Number, "pong"}, ping(v) || v.Text == "ask" },
		Skip:      ping,
	}))
	for i := range 3 {
		must(t, x.Send(noContext, note{i, "ping"}))
	}
	must(t, x.Send(noContext, note{9, "hello"}))
	v, ok, err := y.TryRecv()
	for !ok && err == nil {
		v, ok, err = y.TryRecv()
	}
	if err != nil || v.Text != "hello" {
		t.Errorf("received %+v, %v, want hello", v, err)
	}
	for i := range 3 {
		if v, err := x.Recv(noContext); err != nil || v != (note{i, "pong"}) {
			t.Errorf("reply %d: %+v, %v", i, v, err)
		}
	}
	must(t, x.Send(noContext, note{7, "ask"}))
	_, err = y.Recv(noContext) // once: the reply does not wait for another
	must(t, err)
	if v, err := x.Recv(noContext); err != nil || v != (note{7, "pong"}) {
		t.Errorf("reply: %+v, %v", v, err)
	}
	if got := strings.Join(seen[:4], " "); got != "ping ping ping hello" {
		t.Errorf("OnReceive saw %q", got)
	}
}

// Replies that find no room hold up what comes after them, and are not lost.
func TestRepliesWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := with(noteHooks{Reply: func(v note) (note, bool) { return note{v.Number, "pong"}, true }, Skip: func(note) bool { return true }})
		c.MaxPending = 1
		a, b := net.Pipe()
		x, y := linkOver(t, a, b, noteConfig{}, c)
		const count = 10
		for i := range count {
			must(t, x.Send(noContext, note{Number: i}))
		}
		for range 2 * count { // one is being written, one waits, one finds no room
			synctest.Wait()
			if v, ok, err := y.TryRecv(); ok || err != nil {
				t.Fatalf("received %+v, %v", v, err)
			}
		}
		synctest.Wait()
		ended := make(chan error)
		go func() { _, err := y.Recv(noContext); ended <- err }()
		for i := range count {
			if v, err := x.Recv(noContext); err != nil || v.Number != i {
				t.Fatalf("reply %d: %+v, %v", i, v, err)
			}
		}
		must(t, x.Close())
		if err := <-ended; err != io.EOF {
			t.Errorf("Recv: %v, want io.EOF", err)
		}
		must(t, y.Close())
	})
}

// The goodbye comes after everything else and before the end; where the link
// ends in another way there is none.
func TestGoodbye(t *testing.T) {
	config := with(noteHooks{Goodbye: func() (note, bool) { return note{Text: "bye"}, true }})
	a, b := tcpPair(t)
	x, y := linkOver(t, a, b, config, noteConfig{})
	for i := range 100 {
		must(t, x.Send(noContext, note{Number: i}))
	}
	must(t, x.Close())
	n, last := 0, note{}
	for v, err := range y.All(noContext) {
		must(t, err)
		n, last = n+1, v
	}
	if n != 101 || last.Text != "bye" {
		t.Errorf("%d messages, the last %+v; want 101 and the goodbye", n, last)
	}
	a, b = tcpPair(t)
	x, y = linkOver(t, a, b, config, noteConfig{})
	x.Abort(nil)
	if v, err := y.Recv(noContext); err != io.EOF {
		t.Errorf("after Abort: %+v, %v, want io.EOF", v, err)
	}
}

// A panic in anything of the user's ends its link with a PanicError, and
// nothing else.
func TestPanics(t *testing.T) {
	boom := func() { panic("boom") }
	for name, c := range map[string]noteConfig{
		"factory":   {Hooks: func() noteHooks { boom(); return noteHooks{} }},
		"OnStream":  with(noteHooks{OnStream: func(context.Context, link.Stream, bool) (link.Stream, error) { boom(); return nil, nil }}),
		"OnLogin":   with(noteHooks{OnLogin: func(context.Context, *noteLink) error { boom(); return nil }}),
		"OnSend":    with(noteHooks{OnSend: func(*note) { boom() }}),
		"OnSent":    with(noteHooks{OnSent: func(note, error) { boom() }}),
		"OnReceive": with(noteHooks{OnReceive: func(note) { boom() }}),
		"Reply":     with(noteHooks{Reply: func(note) (note, bool) { boom(); return note{}, false }}),
		"Skip":      with(noteHooks{Skip: func(note) bool { boom(); return false }}),
		"Goodbye":   with(noteHooks{Goodbye: func() (note, bool) { boom(); return note{}, false }}),
		"Heartbeat": with(noteHooks{Heartbeat: link.Heartbeat[note]{Interval: time.Millisecond, Message: func() note { boom(); return note{} }}}),
		"Append":    {Codec: badCodec{onAppend: boom}},
		"Decode":    {Codec: badCodec{onDecode: boom}},
		"Framer":    {Framer: badFramer{boom}},
		"observer":  {Observer: badObserver{boom}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			y, err := link.New(noContext, b, false, noteConfig{})
			must(t, err)
			defer y.Close()
			x, err := link.New(noContext, a, true, c)
			if err == nil {
				if name != "Heartbeat" {
					_ = x.Send(noContext, note{1, "a"})
					_ = x.Flush(noContext)
					must(t, y.Send(noContext, note{2, "b"}))
					ctx, stop := context.WithCancel(noContext)
					go func() { <-x.Done(); stop() }()
					if name == "Goodbye" || name == "OnSent" {
						stop()
					}
					_, _ = x.Recv(ctx)
				} else {
					<-x.Done()
				}
				err = x.Close()
				if err == nil {
					err = x.Err()
				}
			}
			var p *link.PanicError
			if !errors.As(err, &p) || p.Value != "boom" || len(p.Stack) == 0 {
				t.Errorf("the link ended with %v, want a PanicError", err)
			}
		})
	}
}

type badCodec struct{ onAppend, onDecode func() }

func (c badCodec) Append(dst []byte, _ *note) ([]byte, error) {
	if c.onAppend != nil {
		c.onAppend()
	}
	return dst, nil
}

func (c badCodec) Decode([]byte, *note) error {
	if c.onDecode != nil {
		c.onDecode()
	}
	return nil
}

type badFramer struct{ boom func() }

func (f badFramer) Next([]byte, int) ([]byte, int, error) { f.boom(); return nil, 0, nil }
func (f badFramer) Open(dst []byte) []byte                { return dst }
func (f badFramer) Seal(buf []byte, start int) ([]byte, error) {
	return append(buf, "\x00\x00\x00\x00"...), nil
}

type badObserver struct{ boom func() }

func (o badObserver) Observe(link.Event) { o.boom() }

// OnError is called once, with why the link ended, and not for a Close.
func TestOnError(t *testing.T) {
	var got []error
	config := with(noteHooks{OnError: func(err error) { got = append(got, err) }})
	a, b := tcpPair(t)
	x, _ := linkOver(t, a, b, config, noteConfig{})
	must(t, x.Close())
	if len(got) != 0 {
		t.Errorf("after Close: %v", got)
	}
	a, b = tcpPair(t)
	x, y := linkOver(t, a, b, config, noteConfig{})
	must(t, b.(*net.TCPConn).SetLinger(0))
	y.Abort(nil) // a reset
	_, err := x.Recv(noContext)
	_ = x.Close()
	if len(got) != 1 || got[0] != err || err == io.EOF {
		t.Errorf("after a reset: %v, Recv %v; want that once", got, err)
	}
}
