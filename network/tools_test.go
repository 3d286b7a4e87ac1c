package network_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/network"
)

// A handler is a handler whose callbacks are functions.
type handler struct {
	onOpen    func(*agent.Handler)
	onMessage func(*agent.Handler, *conn.Message)
	onClose   func(*agent.Handler, error)
	onTick    func(*agent.Handler, time.Time)
	onEvent   func(*agent.Handler, conn.Info, any)
}

func (h *handler) OnOpen(a *agent.Handler) {
	if h.onOpen != nil {
		h.onOpen(a)
	}
}

func (h *handler) OnMessage(a *agent.Handler, m *conn.Message) {
	if h.onMessage != nil {
		h.onMessage(a, m)
	}
}

func (h *handler) OnClose(a *agent.Handler, cause error) {
	if h.onClose != nil {
		h.onClose(a, cause)
	}
}

func (h *handler) OnTick(a *agent.Handler, now time.Time) {
	if h.onTick != nil {
		h.onTick(a, now)
	}
}

func (h *handler) OnEvent(a *agent.Handler, from conn.Info, ev any) {
	if h.onEvent != nil {
		h.onEvent(a, from, ev)
	}
}

// A journal collects what happened, in order.
type journal struct {
	mu  sync.Mutex
	all []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, fmt.Sprintf(format, args...))
}

func (j *journal) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.all)
}

// want fails the test unless exactly these lines were written.
func (j *journal) want(t testing.TB, lines ...string) {
	t.Helper()
	if got := j.lines(); !slices.Equal(got, lines) {
		t.Errorf("happened:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

// logs is a slog.Handler that keeps warnings and errors as text.
type logs struct {
	journal
	attrs string
	root  *logs
}

func (l *logs) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	text := r.Message + l.attrs
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	if l.root != nil {
		l = l.root
	}
	l.add("%s", text)
	return nil
}

func (l *logs) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := &logs{attrs: l.attrs, root: l}
	if l.root != nil {
		c.root = l.root
	}
	for _, a := range attrs {
		c.attrs += " " + a.String()
	}
	return c
}

func (l *logs) WithGroup(string) slog.Handler { return l }

// having returns the lines that contain all the texts.
func (l *logs) having(texts ...string) (out []string) {
	for _, line := range l.lines() {
		if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
			out = append(out, line)
		}
	}
	return out
}

// logTo makes a node log to l.
func logTo(l *logs) func(*network.Config) {
	return func(c *network.Config) { c.Log = slog.New(l) }
}

// limits changes the limits of a node.
func limits(f func(*network.Limits)) func(*network.Config) {
	return func(c *network.Config) { f(&c.Limits) }
}

// count returns a counter of a node.
func (h *host) count(name string) uint64 {
	h.t.Helper()
	n, ok := h.State().Counters[name]
	if !ok {
		h.t.Fatalf("no counter %q", name)
	}
	return n
}

// A raw peer speaks the protocol by hand.
type raw struct {
	t   testing.TB
	key identity.PrivateKey
	c   conn.Conn
	buf []byte
}

// raw dials a node and says nothing.
func (b *bench) raw(n byte, to *host) *raw {
	b.t.Helper()
	k := key(b.t, n)
	c, err := b.net.Transport().Dial(b.t.Context(), conn.Local{Key: k}, to.Self(), to.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close(nil) })
	return &raw{t: b.t, key: k, c: c}
}

// opened is raw that has opened the connection, with the probe's service
// unless others are given.
func (b *bench) opened(n byte, to *host, services ...wire.Service) *raw {
	b.t.Helper()
	r := b.raw(n, to)
	if services == nil {
		services = []wire.Service{probeService}
	}
	r.send(hello(func(h *wire.Hello) { h.Services = services }))
	r.want(wire.TypeHello)
	r.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
	r.want(wire.TypeReady)
	r.alive() // only an open connection answers
	return r
}

var probeService = wire.Service{Service: conn.Service{ID: service, Name: "probe"}, Window: 1 << 20}

// hello returns a valid hello frame, but for what change does.
func hello(change ...func(*wire.Hello)) []byte {
	h := &wire.Hello{MinVersion: wire.Version, MaxVersion: wire.Version, Network: "plexus", Instance: 7, MaxMessage: 1 << 20, RoutedWindow: 1 << 21}
	for _, c := range change {
		c(h)
	}
	return wire.AppendHello(nil, h)
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.c.Write(b); err != nil {
		r.t.Fatal("raw peer: write:", err)
	}
}

// next reads the next frame; the error is the connection's.
func (r *raw) next() (wire.Type, []byte, error) {
	fill := func(n int) error {
		for len(r.buf) < n {
			b := make([]byte, 4096)
			k, err := r.c.Read(b)
			r.buf = append(r.buf, b[:k]...)
			if k == 0 && err != nil {
				return err
			}
		}
		return nil
	}
	if err := fill(wire.PrefixSize); err != nil {
		return 0, nil, err
	}
	t, n := wire.Prefix(r.buf)
	if err := fill(wire.PrefixSize + n); err != nil {
		return 0, nil, err
	}
	body := slices.Clone(r.buf[wire.PrefixSize : wire.PrefixSize+n])
	r.buf = r.buf[wire.PrefixSize+n:]
	return t, body, nil
}

// want reads a frame that has to be of a type.
func (r *raw) want(t wire.Type) []byte {
	r.t.Helper()
	got, body, err := r.next()
	if err != nil || got != t {
		r.t.Fatalf("raw peer: read a frame of type %d %q, error %v; want type %d", got, body, err, t)
	}
	return body
}

// until reads frames up to one of a type.
func (r *raw) until(t wire.Type) []byte {
	r.t.Helper()
	for {
		got, body, err := r.next()
		if err != nil {
			r.t.Fatalf("raw peer: waiting for a frame of type %d: %v", t, err)
		}
		if got == t {
			return body
		}
	}
}

// goodbye reads up to the goodbye and returns it.
func (r *raw) goodbye() *conn.CloseError {
	r.t.Helper()
	ce, err := wire.ParseGoodbye(r.until(wire.TypeGoodbye))
	if err != nil {
		r.t.Fatal(err)
	}
	return ce
}

// alive checks that the node answers.
func (r *raw) alive() {
	r.t.Helper()
	r.send(wire.AppendPing(nil, wire.TypePing, 4711))
	r.until(wire.TypePong)
}

// ended reads until the connection ends and returns the reason.
func (r *raw) ended() error {
	for {
		if _, _, err := r.next(); err != nil {
			return err
		}
	}
}

// wantCode fails unless err carries a code.
func wantCode(t testing.TB, err error, code conn.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("error is %v, want the code %q", err, code)
	}
}

// at is a frame with a direct message for the probe.
func directFrame(id identity.ServiceID, kind conn.Kind, payload string) []byte {
	return append(wire.AppendDirect(nil, id, kind, len(payload)), payload...)
}

// soon returns a context that ends when the test has waited long enough.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// bubble runs a test on virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// pong waits for a probe and answers it.
func (r *raw) pong() {
	r.t.Helper()
	r.send(append(wire.AppendPrefix(nil, wire.TypePong, 8), r.until(wire.TypePing)...))
}

func servicesFrame(s ...wire.Service) []byte { return wire.AppendServices(nil, s) }

// quiet is a behaviour under the probe's name that only counts.
type quiet struct{ connects, disconnects atomic.Int64 }

func (*quiet) Describe() behavior.Info                  { return behavior.Info{Name: "probe"} }
func (*quiet) OnMessage(*agent.Behavior, *conn.Message) {}
func (q *quiet) OnConnect(*agent.Behavior, conn.Info) behavior.Handler {
	q.connects.Add(1)
	return nil
}
func (q *quiet) OnDisconnect(*agent.Behavior, conn.Info, error) { q.disconnects.Add(1) }
