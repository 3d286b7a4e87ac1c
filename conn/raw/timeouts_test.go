package raw_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
)

// bubble runs a test on virtual time, with a node that listens on pipes.
func bubble(t *testing.T, v any, c raw.Config, f func(t *testing.T, n *raw.Node, l *fakeListener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newFakeListener()
		c.NewListener = l.open
		n, err := raw.New(v, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(t.Context()); err != nil {
			t.Fatal(err)
		}
		f(t, n, l)
		_ = n.Shutdown(context.Background()) // some tests leave callbacks behind
		synctest.Wait()
		if s := n.Stats(); s.Left != 0 || n.NumConnected() != 0 || n.NumConnecting() != 0 {
			t.Errorf("after Shutdown: %d connected, %d connecting, %+v", n.NumConnected(), n.NumConnecting(), s)
		}
	})
}

// open dials a node, in a bubble.
func open(t *testing.T, l *fakeListener) net.Conn {
	t.Helper()
	c, err := l.dial("192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return c
}

func stall(ctx context.Context, _ net.Conn, _ conn.Direction) (net.Conn, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestHundredStalledHandshakesTimeOutAndAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name      string
		handshake func(context.Context, net.Conn, conn.Direction) (net.Conn, error)
	}{
		{"that wait for the context", stall},
		{"that wait for the stream", func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
			_, err := s.Read(make([]byte, 1))
			return s, err
		}},
		{"that wait for nothing", func(ctx context.Context, s net.Conn, d conn.Direction) (net.Conn, error) {
			<-ctx.Done()
			return s, nil // too late: it does not count
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, &hooks{handshake: tt.handshake}, raw.Config{HandshakeTimeout: time.Second, MaxPerPrefix: -1}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				for range 100 {
					defer open(t, l).Close()
				}
				time.Sleep(time.Second - 1)
				synctest.Wait()
				if n.NumConnecting() != 100 || n.Stats().HandshakeTimeouts != 0 {
					t.Errorf("before the time-out: %d connecting, %d timed out", n.NumConnecting(), n.Stats().HandshakeTimeouts)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if s := n.Stats(); s.HandshakeTimeouts != 100 || n.NumConnecting() != 0 || s.Opened != 0 || s.HandshakeErrors != 0 {
					t.Errorf("after the time-out: %d connecting, %+v", n.NumConnecting(), s)
				}
			})
		})
	}
}

func TestAHandshakeThatIgnoresEverythingGivesItsPlaceBack(t *testing.T) {
	bubble(t, &hooks{handshake: func(context.Context, net.Conn, conn.Direction) (net.Conn, error) {
		time.Sleep(time.Hour)
		return nil, errBad
	}}, raw.Config{MaxConns: 1}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		defer open(t, l).Close()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n.NumConnecting() != 0 || n.Stats().HandshakeTimeouts != 1 {
			t.Errorf("%d connecting, %+v", n.NumConnecting(), n.Stats())
		}
		if err := n.Shutdown(t.Context()); err == nil {
			t.Error("Shutdown does not say that a handshake has not returned")
		}
		time.Sleep(time.Hour)
	})
}

func TestConnectTimesOut(t *testing.T) {
	bubble(t, nil, raw.Config{ConnectTimeout: 200 * time.Millisecond}, func(t *testing.T, n *raw.Node, _ *fakeListener) {
		began := time.Now()
		_, err := n.ConnectUsing(t.Context(), func(ctx context.Context) (net.Conn, error) {
			time.Sleep(time.Minute) // ignores ctx
			a, b := net.Pipe()
			go func() { _, _ = b.Read(make([]byte, 1)); b.Close() }() // until a is closed
			return a, nil
		})
		if !errors.Is(err, raw.ErrTimeout) || time.Since(began) != 200*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if s := n.Stats(); s.ConnectTimeouts != 1 || n.NumConnecting() != 0 {
			t.Errorf("%d connecting, %+v", n.NumConnecting(), s)
		}
		time.Sleep(time.Minute)
	})
}

func TestIdleConnectionsEnd(t *testing.T) {
	const idle = 250 * time.Millisecond
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		ends    bool
	}{{"after the time-out", idle, true}, {"never if it is off", -1, false}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, &hooks{}, raw.Config{IdleTimeout: tt.timeout}, func(t *testing.T, n *raw.Node, l *fakeListener) {
				c := open(t, l)
				defer c.Close()
				for range 10 { // what comes puts it off
					time.Sleep(idle - 1)
					if _, err := c.Write(frame("alive")); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				time.Sleep(idle - 1)
				synctest.Wait()
				if n.NumConnected() != 1 {
					t.Fatal("ended before the time-out")
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if got := n.NumConnected() == 0; got != tt.ends || (n.Stats().IdleTimeouts == 1) != tt.ends {
					t.Errorf("ended: %t, want %t; %d idle time-outs", got, tt.ends, n.Stats().IdleTimeouts)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if got := n.NumConnected() == 0; got != tt.ends {
					t.Errorf("ended after an hour: %t, want %t", got, tt.ends)
				}
			})
		})
	}
}

func TestTheTimeInCallbacksIsNotIdle(t *testing.T) {
	h := &hooks{message: func(context.Context, *raw.Conn, []byte) { <-time.After(time.Hour) }}
	bubble(t, h, raw.Config{IdleTimeout: time.Second}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		c := open(t, l)
		defer c.Close()
		_, _ = c.Write(frame("work"))
		time.Sleep(time.Hour + time.Second/2)
		if n.NumConnected() != 1 {
			t.Error("ended as idle while it worked")
		}
		time.Sleep(time.Second / 2)
		synctest.Wait()
		if n.NumConnected() != 0 {
			t.Error("did not end after the callback")
		}
	})
}

func TestAWriteThatTimesOutResolvesEveryDelivery(t *testing.T) {
	why := make(chan *raw.EndError, 1)
	h := &hooks{disconnect: func(_ context.Context, _ *raw.Conn, e *raw.EndError) { why <- e }}
	bubble(t, h, raw.Config{WriteTimeout: 200 * time.Millisecond}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		defer open(t, l).Close() // reads nothing
		c := only(t, n)
		var deliveries []*raw.Delivery
		for range 10 {
			d, err := c.SendTracked([]byte("into the void"))
			if err != nil {
				t.Fatal(err)
			}
			deliveries = append(deliveries, d)
		}
		began := time.Now()
		for _, d := range deliveries {
			if err := d.Wait(t.Context()); !errors.Is(err, raw.WriteTimeout) || !errors.Is(err, raw.ErrTimeout) {
				t.Errorf("delivery: %v", err)
			}
		}
		if took := time.Since(began); took != 200*time.Millisecond {
			t.Errorf("took %v", took)
		}
		<-c.Done()
		if e := <-why; e.Origin != raw.WriteTimeout || n.Stats().WriteTimeouts != 1 {
			t.Errorf("ended with %v, %d write time-outs", e, n.Stats().WriteTimeouts)
		}
	})
}

func TestWritesNeverTimeOutIfThatIsOff(t *testing.T) {
	bubble(t, &hooks{}, raw.Config{WriteTimeout: -1, IdleTimeout: -1}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		there := open(t, l)
		c := only(t, n)
		d, err := c.SendTracked([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		select {
		case <-d.Done():
			t.Errorf("resolved: %v", d.Err())
		default:
		}
		there.Close()
		if err := d.Wait(t.Context()); !errors.Is(err, raw.Peer) {
			t.Errorf("delivery: %v", err)
		}
	})
}

func TestOnConnectThatTakesTooLongEndsTheConnection(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		var cause error
		h := &hooks{connect: func(ctx context.Context, _ *raw.Conn) error {
			if heeds {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return nil
			}
			<-time.After(4 * time.Second)
			return nil
		}}
		bubble(t, h, raw.Config{}, func(t *testing.T, n *raw.Node, l *fakeListener) {
			defer open(t, l).Close()
			c := only(t, n)
			time.Sleep(3*time.Second - 1)
			if c.Err() != nil {
				t.Errorf("ended early: %v", c.Err())
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if err := c.Err(); !errors.Is(err, raw.ConnectHook) || !errors.Is(err, raw.ErrTimeout) {
				t.Errorf("ended with %v", err)
			}
			<-c.Done()
			if heeds && !errors.Is(cause, raw.ErrTimeout) {
				t.Errorf("its context ended with %v", cause)
			}
		})
	}
}

func TestOnDisconnectThatTakesTooLongIsLeftBehind(t *testing.T) {
	h := &hooks{disconnect: func(ctx context.Context, _ *raw.Conn, _ *raw.EndError) { <-time.After(time.Minute) }}
	bubble(t, h, raw.Config{HookTimeout: 200 * time.Millisecond}, func(t *testing.T, n *raw.Node, l *fakeListener) {
		defer open(t, l).Close()
		c := only(t, n)
		began := time.Now()
		c.Disconnect(nil)
		<-c.Done()
		if took := time.Since(began); took != 200*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if s := n.Stats(); s.HookTimeouts != 1 || s.Left != 1 {
			t.Errorf("%+v", s)
		}
		if err := n.Shutdown(t.Context()); err == nil {
			t.Error("Shutdown does not say that a callback was left behind")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := n.Stats(); s.Left != 0 {
			t.Errorf("%d left after it has returned", s.Left)
		}
	})
}

func TestOnMessageThatIgnoresTheEndIsLeftBehind(t *testing.T) {
	var disconnected atomic.Int32
	h := &hooks{
		message:    func(context.Context, *raw.Conn, []byte) { <-time.After(time.Hour) },
		disconnect: func(context.Context, *raw.Conn, *raw.EndError) { disconnected.Add(1) },
	}
	for _, queue := range []int{0, 4} {
		disconnected.Store(0)
		bubble(t, h, raw.Config{InQueue: queue}, func(t *testing.T, n *raw.Node, l *fakeListener) {
			there := open(t, l)
			defer there.Close()
			_, _ = there.Write(frame("x"))
			synctest.Wait() // until OnMessage runs
			c := only(t, n)
			c.Disconnect(nil)
			time.Sleep(3*time.Second - 1)
			if disconnected.Load() != 0 {
				t.Error("OnDisconnect before OnMessage had its time to return")
			}
			<-c.Done()
			if s := n.Stats(); disconnected.Load() != 1 || s.HookTimeouts != 1 || s.Left != 1 || n.NumConnected() != 0 {
				t.Errorf("OnDisconnect %d times, %+v", disconnected.Load(), s)
			}
			time.Sleep(time.Hour)
		})
	}
}

// A failingListener fails some accepts before each that succeeds.
type failingListener struct {
	*fakeListener
	fail   int
	err    error
	failed []time.Time
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.failed) < l.fail {
		l.failed = append(l.failed, time.Now())
		return nil, l.err
	}
	return l.fakeListener.Accept()
}

func TestFailuresToAcceptAreSatOut(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		took time.Duration
	}{
		{"no descriptors", syscall.EMFILE, (5 + 10 + 20 + 40 + 80 + 160 + 320 + 640 + 1000 + 1000) * time.Millisecond},
		{"one that has gone", syscall.ECONNABORTED, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(logs)
				l := &failingListener{fakeListener: newFakeListener(), fail: 10, err: &net.OpError{Op: "accept", Err: tt.err}}
				n, err := raw.New(&hooks{}, raw.Config{
					Name: "nine", NewListener: func(context.Context) (net.Listener, error) { return l, nil }, Log: slog.New(slog.NewTextHandler(log, nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := n.Listen(t.Context()); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				c := open(t, l.fakeListener)
				if took := time.Since(began); took != tt.took || n.Stats().AcceptErrors != 10 {
					t.Errorf("%d failures took %v, want 10 in %v", n.Stats().AcceptErrors, took, tt.took)
				}
				if text := log.String(); (strings.Count(text, "cannot accept") == 1 && strings.Contains(text, "node=nine")) != (tt.took > 0) {
					t.Errorf("logged %q", text)
				}
				c.Close()
				if err := n.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
