package behavior_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

type greeting struct {
	Text string
	N    int
}

const (
	greet = behavior.Message[greeting](1)
	blob  = behavior.Message[[]byte](2)
	quit  = behavior.Message[chan int](3) // no codec knows channels
)

// carry sends with f and returns the message that arrives.
func carry(t *testing.T, f func(rec *agenttest.Recorder, from conn.Info) error) *conn.Message {
	t.Helper()
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
	if err := f(rec, c); err != nil {
		t.Fatal(err)
	}
	calls := rec.TakeCalls()
	if len(calls) != 1 || !calls[0].IsSend() {
		t.Fatalf("got %v, want one message", calls)
	}
	return rec.Message(c, calls[0].Message.Kind, calls[0].Message.Payload)
}

func TestMessage(t *testing.T) {
	want := greeting{"hello", 7}
	for name, f := range map[string]func(rec *agenttest.Recorder, c conn.Info) error{
		"behaviour": func(rec *agenttest.Recorder, c conn.Info) error {
			return greet.Send(rec.Behavior(), router.ToConn(c.ID), want)
		},
		"handler": func(rec *agenttest.Recorder, c conn.Info) error {
			return greet.Send(rec.Handler(c.ID), router.ToConn(c.ID), want)
		},
		"broadcast": func(rec *agenttest.Recorder, _ conn.Info) error {
			n, err := greet.Broadcast(rec.Behavior(), want)
			if n != 1 {
				t.Errorf("broadcast to %d, want 1", n)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := carry(t, f)
			if got, err := greet.Decode(m); got != want || err != nil || m.Kind != greet.Kind() {
				t.Errorf("got %v %v of kind %d, want what was sent", got, err, m.Kind)
			}
		})
	}
}

// TestMessageIsTheReceivers: what is decoded shares nothing with the payload,
// which is valid during the callback only.
func TestMessageIsTheReceivers(t *testing.T) {
	m := carry(t, func(rec *agenttest.Recorder, c conn.Info) error {
		return blob.Send(rec.Behavior(), router.ToConn(c.ID), []byte("kept"))
	})
	got, err := blob.Decode(m)
	for i := range m.Payload {
		m.Payload[i] = 'x'
	}
	if err != nil || string(got) != "kept" {
		t.Errorf("got %q %v after the payload was overwritten, want it unchanged", got, err)
	}
}

// TestMessageBuffers: a large message does not spoil later ones, and buffers are
// not shared.
func TestMessageBuffers(t *testing.T) {
	for _, n := range []int{0, 1, 511, 513, 64 << 10, 1 << 20, 3} {
		want := bytes.Repeat([]byte{byte(n)}, n)
		m := carry(t, func(rec *agenttest.Recorder, c conn.Info) error {
			return blob.Send(rec.Behavior(), router.ToConn(c.ID), want)
		})
		if got, err := blob.Decode(m); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back as %d, %v", n, len(got), err)
		}
	}
}

// nested is a sender that sends something else before it looks at its message.
type nested struct {
	rec  *agenttest.Recorder
	deep int
}

func (x nested) Send(to router.Route, kind conn.Kind, payload []byte) error {
	if x.deep > 0 {
		x.deep--
		if err := blob.Send(x, to, []byte{byte(x.deep), 1, 2, 3}); err != nil {
			return err
		}
	}
	return x.rec.Behavior().Send(to, kind, payload)
}

// TestMessageNested: a buffer is not used again before Send has returned.
func TestMessageNested(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	if err := blob.Send(nested{rec, 3}, router.ToService(1), []byte{3, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	for i, call := range rec.TakeCalls() {
		if got, err := blob.Decode(rec.Message(conn.Info{}, 2, call.Message.Payload)); err != nil || !bytes.Equal(got, []byte{byte(i), 1, 2, 3}) {
			t.Errorf("message %d: got %v %v", i, got, err)
		}
	}
}

func TestMessageErrors(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
	if err := greet.Send(rec.Behavior(), router.ToConn(99), greeting{}); err != agent.ErrNoConn {
		t.Errorf("send: got %v, want the agent's error as it is", err)
	}
	rec.Take()
	if err := quit.Send(rec.Behavior(), router.ToConn(c.ID), nil); err == nil || !strings.Contains(err.Error(), "behavior: message kind 3: ") {
		t.Errorf("encode: got %v, want the codec's error with the kind", err)
	}
	if n, err := quit.Broadcast(rec.Behavior(), nil); n != 0 || err == nil {
		t.Errorf("broadcast: got %d %v, want the codec's error", n, err)
	}
	if calls := rec.Take(); len(calls) != 0 {
		t.Errorf("what could not be encoded was sent: %v", calls)
	}
	cases := []struct {
		name    string
		kind    conn.Kind
		payload []byte
		want    string
	}{
		{"other kind", 2, nil, "behavior: message is of kind 2, want 1"},
		{"empty", 1, nil, "behavior: message kind 1 from alice222: "},
		{"garbage", 1, []byte{0xc1, 0xff}, "behavior: message kind 1 from alice222: "},
		{"other type", 1, []byte("\x82\xa4Text\xa1a\xa1N\xa1b"), "behavior: message kind 1 from alice222: "},
		{"broken off", 1, []byte{0x82, 0xa4, 'T', 'e', 'x', 't', 0xa1, 'a', 0xa1}, "behavior: message kind 1 from alice222: "},
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			got, err := greet.Decode(rec.Message(c, x.kind, x.payload))
			checkError(t, err, x.want)
			if got != (greeting{}) {
				t.Errorf("got %v with the error, want the zero value", got)
			}
		})
	}
}

// muxed is a behaviour that embeds a Mux.
type muxed struct {
	behavior.Mux
	got []string
}

func newMuxed() *muxed {
	x := &muxed{}
	behavior.On(&x.Mux, greet, func(_ *agent.Behavior, m *conn.Message, g greeting) {
		x.got = append(x.got, m.From.Short()+" says "+g.Text)
	})
	behavior.On(&x.Mux, blob, func(_ *agent.Behavior, _ *conn.Message, p []byte) { x.got = append(x.got, string(p)) })
	return x
}

func TestMux(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{Node: agenttest.Node("alice")})
	x := newMuxed()
	if err := behavior.Check(x); err != nil {
		t.Fatalf("a behaviour that embeds Mux: %v", err)
	}
	for _, send := range []func(rec *agenttest.Recorder, c conn.Info) error{
		func(rec *agenttest.Recorder, c conn.Info) error {
			return blob.Send(rec.Behavior(), router.ToConn(c.ID), []byte("raw"))
		},
		func(rec *agenttest.Recorder, c conn.Info) error {
			return greet.Send(rec.Behavior(), router.ToConn(c.ID), greeting{Text: "hi"})
		},
	} {
		x.OnMessage(rec.Behavior(), carry(t, send))
	}
	if want := []string{"raw", "alice222 says hi"}; !slices.Equal(x.got, want) {
		t.Errorf("got %q, want %q: each kind goes to its function", x.got, want)
	}

	type bad struct {
		kind conn.Kind
		err  bool
	}
	var bads []bad
	x.Bad = func(_ *agent.Behavior, m *conn.Message, err error) { bads = append(bads, bad{m.Kind, err != nil}) }
	x.OnMessage(rec.Behavior(), rec.Message(c, 9, nil))
	x.OnMessage(rec.Behavior(), rec.Message(c, 1, []byte{0xc1}))
	if want := []bad{{9, false}, {1, true}}; !slices.Equal(bads, want) || len(x.got) != 2 {
		t.Errorf("Bad got %v, want %v: unknown kinds without an error, bad payloads with one", bads, want)
	}
}

// logged counts records by level.
type logged map[slog.Level]int

func (l logged) Enabled(context.Context, slog.Level) bool      { return true }
func (l logged) Handle(_ context.Context, r slog.Record) error { l[r.Level]++; return nil }
func (l logged) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l logged) WithGroup(string) slog.Handler                 { return l }

// TestMuxLogsByDefault: a remote cannot fill the log with what Mux ignores.
func TestMuxLogsByDefault(t *testing.T) {
	log := make(logged)
	rec := agenttest.New(agenttest.Config{Log: slog.New(log)})
	c := rec.Connect(conn.Info{})
	newMuxed().OnMessage(rec.Behavior(), rec.Message(c, 9, nil))
	newMuxed().OnMessage(rec.Behavior(), rec.Message(c, 1, []byte{0xc1}))
	(&behavior.Mux{}).OnMessage(rec.Behavior(), rec.Message(c, 1, nil))
	if log[slog.LevelDebug] != 3 || len(log) != 1 {
		t.Errorf("logged %v, want three records at debug level", log)
	}
}

func TestOnTwicePanics(t *testing.T) {
	defer func() {
		if p, _ := recover().(string); p != "behavior: kind 1 is registered twice" {
			t.Errorf("got panic %q", p)
		}
	}()
	behavior.On(&newMuxed().Mux, greet, func(*agent.Behavior, *conn.Message, greeting) {})
}

func TestFuncs(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{})
	n := 0
	behavior.Func(func(*agent.Behavior, *conn.Message) { n++ }).OnMessage(rec.Behavior(), rec.Message(c, 1, nil))
	behavior.HandlerFunc(func(*agent.Handler, *conn.Message) { n += 10 }).OnMessage(rec.Handler(c.ID), rec.Message(c, 1, nil))
	if n != 11 {
		t.Errorf("got %d, want both functions called once", n)
	}
}

// FuzzMux: nothing that arrives makes a Mux panic.
func FuzzMux(f *testing.F) {
	f.Add(uint16(1), []byte{0x82, 0xa4, 'T', 'e', 'x', 't', 0xa1, 'a', 0xa1, 'N', 1})
	f.Add(uint16(2), []byte{0xc4, 1, 'x'})
	f.Add(uint16(9), []byte(nil))
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{})
	x := newMuxed()
	x.Bad = func(_ *agent.Behavior, m *conn.Message, err error) {
		if known := m.Kind == greet.Kind() || m.Kind == blob.Kind(); known != (err != nil) {
			panic(errors.Join(errors.New("Bad: an error if and only if the kind is known"), err))
		}
	}
	f.Fuzz(func(_ *testing.T, kind uint16, p []byte) {
		x.got = x.got[:0]
		x.OnMessage(rec.Behavior(), rec.Message(c, conn.Kind(kind), p))
	})
}
