package raw_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn/raw"
)

// Every cause of an end reaches OnDisconnect, Err, the context and the counters
// alike, once.
func TestEveryOriginIsTold(t *testing.T) {
	why := make(chan *raw.EndError, 1)
	disconnect := func(_ context.Context, _ *raw.Conn, e *raw.EndError) { why <- e }
	over := errors.New("one too many")
	for _, tt := range []struct {
		origin  raw.Origin
		h       hooks
		cause   func(t *testing.T, n *raw.Node, c *raw.Conn, there io.WriteCloser)
		beneath error // nil: nothing
		text    string
	}{
		{raw.User, hooks{}, func(_ *testing.T, _ *raw.Node, c *raw.Conn, _ io.WriteCloser) { c.Disconnect(over) }, over, "closed by this side: one too many"},
		{raw.Peer, hooks{}, func(_ *testing.T, _ *raw.Node, _ *raw.Conn, there io.WriteCloser) { there.Close() }, io.EOF, "closed by the peer: EOF"},
		{raw.Idle, hooks{}, func(*testing.T, *raw.Node, *raw.Conn, io.WriteCloser) { <-time.After(time.Minute) }, raw.ErrTimeout,
			"idle: raw: nothing was received for Config.IdleTimeout"},
		{raw.WriteTimeout, hooks{}, func(t *testing.T, _ *raw.Node, c *raw.Conn, _ io.WriteCloser) {
			if err := c.Send([]byte("nobody reads it")); err != nil {
				t.Error(err)
			}
			<-time.After(10 * time.Second)
		}, raw.ErrTimeout, "write timed out: raw: the stream took longer than Config.WriteTimeout"},
		{raw.Decode, hooks{}, func(_ *testing.T, _ *raw.Node, _ *raw.Conn, there io.WriteCloser) {
			_, _ = there.Write([]byte("\xff\xff"))
		}, errBad,
			"what was received is not the protocol: bad message"},
		{raw.Panic, hooks{message: func(context.Context, *raw.Conn, []byte) { panic(errBad) }},
			func(_ *testing.T, _ *raw.Node, _ *raw.Conn, there io.WriteCloser) { _, _ = there.Write(frame("x")) }, errBad,
			"callback panicked: raw: OnMessage panicked: bad message"},
		{raw.ConnectHook, hooks{connect: func(context.Context, *raw.Conn) error { return errBad }},
			func(*testing.T, *raw.Node, *raw.Conn, io.WriteCloser) {}, errBad, "OnConnect failed: bad message"},
		{raw.Replaced, hooks{}, func(_ *testing.T, _ *raw.Node, c *raw.Conn, _ io.WriteCloser) { c.Disconnect(raw.Replaced) }, nil, "replaced"},
		{raw.Limit, hooks{}, func(t *testing.T, n *raw.Node, c *raw.Conn, _ io.WriteCloser) {
			if err := n.Disconnect(c.ID(), fmt.Errorf("%w: %w", raw.Limit, over)); err != nil {
				t.Error(err)
			}
		}, over, "limit reached: raw: limit reached: one too many"},
		{raw.Shutdown, hooks{}, func(_ *testing.T, n *raw.Node, _ *raw.Conn, _ io.WriteCloser) { _ = n.Shutdown(context.Background()) }, raw.ErrShutdown,
			"shutdown: raw: node is shut down"},
	} {
		t.Run(tt.origin.String(), func(t *testing.T) {
			tt.h.disconnect = disconnect
			bubble(t, &tt.h, raw.Config{}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				var c *raw.Conn
				connected := tt.h.connect
				tt.h.connect = func(ctx context.Context, made *raw.Conn) error {
					if c = made; connected != nil {
						return connected(ctx, made)
					}
					return nil
				}
				there := open(t, l)
				defer there.Close()
				tt.cause(t, n, c, there)
				<-c.Done()
				e := <-why
				if e.Origin != tt.origin || !errors.Is(e, tt.origin) {
					t.Errorf("OnDisconnect with %v, want %v", e, tt.origin)
				}
				for o := raw.User; o <= raw.Shutdown; o++ {
					if is := errors.Is(e, o); is != (o == tt.origin) {
						t.Errorf("errors.Is(%v, %v) is %t", e, o, is)
					}
				}
				if tt.beneath != nil && !errors.Is(e, tt.beneath) {
					t.Errorf("OnDisconnect with %v, want %v beneath", e, tt.beneath)
				}
				if got := e.Error(); got != "raw: connection ended: "+tt.text {
					t.Errorf("it says %q, want %q", got, tt.text)
				}
				if c.Err() != error(e) || context.Cause(c.Context()) != error(e) {
					t.Errorf("Err is %v and the context ended with %v, want %v", c.Err(), context.Cause(c.Context()), e)
				}
				if err := c.Send(nil); !errors.Is(err, tt.origin) {
					t.Errorf("Send after the end: %v", err)
				}
				if s := n.Stats(); len(s.Ended) != 1 || s.Ended[tt.origin] != 1 {
					t.Errorf("Ended is %v, want one of %v", s.Ended, tt.origin)
				}
			})
		})
	}
}

// Whatever Disconnect is given, the connection ends, of an origin that there is.
func TestDisconnectTakesAnyCause(t *testing.T) {
	var none *raw.EndError
	for _, tt := range []struct {
		name  string
		cause error
		want  raw.Origin
	}{
		{"nothing", nil, raw.User},
		{"an error", errBad, raw.User},
		{"an origin", raw.Limit, raw.Limit},
		{"an origin within", fmt.Errorf("user 7: %w", raw.Replaced), raw.Replaced},
		{"an end", &raw.EndError{Origin: raw.Limit, Err: errBad}, raw.Limit},
		{"an end within", fmt.Errorf("as the other one: %w", &raw.EndError{Origin: raw.Idle}), raw.Idle},
		{"no origin", raw.Origin(0), raw.User},
		{"an origin that there is not", raw.Origin(42), raw.User},
		{"an end of none", new(raw.EndError), raw.User},
		{"an end of one that there is not", &raw.EndError{Origin: 42, Err: errBad}, raw.User},
		{"no end", none, raw.User},
		{"no end within", fmt.Errorf("as the other one: %w", none), raw.User},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, &hooks{}, raw.Config{}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				defer open(t, l).Close()
				c := only(t, n)
				c.Disconnect(tt.cause)
				<-c.Done()
				if err := c.Err(); !errors.Is(err, tt.want) || err.Error() == "" || n.Stats().Ended[tt.want] != 1 {
					t.Errorf("ended with %v, counted %v, want %v", err, n.Stats().Ended, tt.want)
				}
			})
		})
	}
}

// What is said of a connection that is not there.
func TestDisconnectOfNone(t *testing.T) {
	n := start(t, nil, raw.Config{})
	if err := n.Disconnect(99, nil); !errors.Is(err, raw.ErrNoConn) {
		t.Errorf("Disconnect: %v, want ErrNoConn", err)
	}
}
