package endpoint_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key returns a key of a seed.
func key(t testing.TB, b byte) identity.PrivateKey {
	t.Helper()
	seed := make([]byte, 32)
	seed[0] = b
	k, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A cable is two endpoints on a network in memory.
type cable struct {
	t    testing.TB
	net  *mem.Network
	keys [2]identity.PrivateKey
	from *mem.Transport
	l    conn.Listener
	ends [2]*endpoint.Endpoint
}

func newCable(t testing.TB, cfg endpoint.Config) *cable {
	c := &cable{t: t, net: mem.NewNetwork(), keys: [2]identity.PrivateKey{key(t, 1), key(t, 2)}}
	c.from = c.net.Transport()
	var err error
	if c.l, err = c.net.Transport().Listen(t.Context(), conn.Local{Key: c.keys[1]}, identity.Address{Scheme: "mem", Host: "b"}); err != nil {
		t.Fatal(err)
	}
	for i := range c.ends {
		c.start(i, cfg)
	}
	return c
}

// start makes the endpoint of a node, as when its process starts.
func (c *cable) start(i int, cfg endpoint.Config) {
	c.t.Helper()
	var err error
	if c.ends[i], err = endpoint.New(c.t.Context(), c.keys[i].ID(), c.keys[1-i].ID(), cfg); err != nil {
		c.t.Fatal(err)
	}
}

// conns returns the ends of a new connection.
func (c *cable) conns() (ends [2]conn.Conn) {
	c.t.Helper()
	var err error
	if ends[0], err = c.from.Dial(c.t.Context(), conn.Local{Key: c.keys[0]}, identity.NodeID{}, c.l.Addr()); err != nil {
		c.t.Fatal(err)
	}
	if ends[1], err = c.l.Accept(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return ends
}

// connect moves the channel to a new connection.
func (c *cable) connect() (errs [2]error) {
	c.t.Helper()
	ends := c.conns()
	done := make(chan error, 1)
	go func() { done <- c.ends[1].Carry(c.t.Context(), ends[1]) }()
	errs[0] = c.ends[0].Carry(c.t.Context(), ends[0])
	errs[1] = <-done
	return errs
}

func (c *cable) mustConnect() {
	c.t.Helper()
	if err := errors.Join(errors.Join(c.connect()[0]), nil); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cable) cut() {
	c.net.Cut(c.keys[0].ID(), c.keys[1].ID())
	c.net.Heal(c.keys[0].ID(), c.keys[1].ID())
}

func (c *cable) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, e := range c.ends {
		e.Close(ctx, nil)
	}
}

// recv returns the next messages as text.
func (c *cable) recv(i, n int) (texts []string) {
	c.t.Helper()
	for range n {
		p, err := c.ends[i].Recv(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		texts = append(texts, string(p))
	}
	return texts
}

func TestMessagesOutliveConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		defer c.close()
		var want []string
		for i := range 30 {
			if i%3 == 0 {
				c.cut()
			}
			text := fmt.Sprint("message ", i)
			want = append(want, text)
			if err := c.ends[0].Send(t.Context(), []byte(text)); err != nil {
				t.Fatal(err)
			}
			if i%3 == 1 {
				c.mustConnect()
			}
		}
		if got := c.recv(1, 30); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q", got)
		}
		if err := c.ends[0].Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if s := c.ends[0].Stats(); s.Sent != 30 || s.Waiting != 0 || s.BytesWaiting != 0 || s.Connections != 10 {
			t.Errorf("%+v", s)
		}
	})
}

func TestDeliverReturnsWhenTheMessageIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		defer c.close()
		c.mustConnect()
		done := make(chan error, 1)
		go func() { done <- c.ends[0].Deliver(t.Context(), []byte("x")) }()
		synctest.Wait()
		if len(done) != 0 {
			t.Error("Deliver has returned before Recv")
		}
		start := time.Now()
		c.recv(1, 1)
		if err := <-done; err != nil || time.Since(start) != 0 {
			t.Errorf("Deliver = %v after %v", err, time.Since(start))
		}
	})
}

func TestRestartIsReportedInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		defer c.close()
		c.mustConnect()
		for _, text := range []string{"1", "2", "3"} {
			c.ends[0].Send(t.Context(), []byte(text))
		}
		c.ends[1].Send(t.Context(), []byte("of the former life"))
		c.recv(1, 1)
		time.Sleep(time.Second) // the news that "1" was taken has come
		ctx, cancel := context.WithCancel(t.Context())
		fate := make(chan error, 1)
		go func() { fate <- c.ends[0].Deliver(ctx, []byte("4")) }()
		synctest.Wait()
		old := c.ends[1]
		c.start(1, endpoint.Config{})
		c.cut()
		c.mustConnect()
		c.ends[1].Send(t.Context(), []byte("of the new life"))
		if got := c.recv(0, 1); got[0] != "of the former life" {
			t.Errorf("got %q", got)
		}
		var restart *endpoint.RestartError
		if _, err := c.ends[0].Recv(t.Context()); !errors.As(err, &restart) || fmt.Sprintf("%s", restart.Unknown) != "[2 3 4]" {
			t.Errorf("Recv = %v %s, want a restart with 2, 3 and 4", err, restart)
		}
		if got := c.recv(0, 1); got[0] != "of the new life" {
			t.Errorf("got %q", got)
		}
		if err := <-fate; !errors.Is(err, endpoint.ErrUnknownFate) {
			t.Errorf("Deliver = %v, want ErrUnknownFate", err)
		}
		cancel()
		stopped, stop := context.WithCancel(context.Background())
		stop()
		old.Close(stopped, nil)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		c.ends[0].Send(t.Context(), []byte("last"))
		c.mustConnect()
		if err := c.ends[0].Close(t.Context(), &conn.CloseError{Code: conn.CodeShutdown, Reason: "good night"}); err != nil {
			t.Error(err)
		}
		if got := c.recv(1, 1); got[0] != "last" {
			t.Errorf("got %q", got)
		}
		var ce *conn.CloseError
		if _, err := c.ends[1].Recv(t.Context()); !errors.As(err, &ce) || !ce.Remote || ce.Code != conn.CodeShutdown || ce.Reason != "good night" {
			t.Errorf("Recv = %v", err)
		}
		if err := c.ends[1].TrySend(nil); !errors.Is(err, conn.CodeShutdown) {
			t.Errorf("TrySend = %v", err)
		}
		if err := c.ends[0].TrySend(nil); !errors.Is(err, conn.CodeShutdown) {
			t.Errorf("TrySend after Close = %v", err)
		}
		<-c.ends[1].Done()
	})
}

func TestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		e, err := endpoint.New(ctx, key(t, 1).ID(), key(t, 2).ID(), endpoint.Config{})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() {
			_, err := e.Recv(t.Context())
			got <- err
		}()
		synctest.Wait()
		cancel(cause)
		if err := <-got; err != cause {
			t.Errorf("Recv = %v", err)
		}
		if err := e.Send(t.Context(), nil); err != cause {
			t.Errorf("Send = %v", err)
		}
	})
}

// However many connections are made at the same moment, both ends are on the same
// one at last, and nothing is lost.
func TestManyConnectionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		defer c.close()
		const n = 200
		results := make(chan error, 2*n)
		for range n {
			ends := c.conns()
			for i := range ends {
				go func() { results <- c.ends[i].Carry(t.Context(), ends[i]) }()
			}
		}
		for m := range 100 {
			c.ends[0].Send(t.Context(), []byte(fmt.Sprint(m)))
			c.ends[1].Send(t.Context(), []byte(fmt.Sprint(m)))
		}
		for range 2 * n {
			if err := <-results; err != nil && !errors.Is(err, endpoint.ErrReplaced) && !errors.Is(err, conn.ErrClosed) && !errors.Is(err, conn.CodeClosed) {
				t.Error(err)
			}
		}
		synctest.Wait()
		if a, b := c.ends[0].Conn(), c.ends[1].Conn(); a == nil || b == nil || a.LocalAddr() != b.RemoteAddr() {
			t.Errorf("the ends are on different connections: %v, %v", a, b)
		}
		for i := range c.ends {
			for m, text := range c.recv(i, 100) {
				if text != fmt.Sprint(m) {
					t.Fatalf("end %d got %q in place %d", i, text, m)
				}
			}
		}
	})
}

// Connections on which Carry fails: each is closed, and the endpoint lives on.
func TestCarryRefuses(t *testing.T) {
	for name, try := range map[string]func(t *testing.T, c *cable, ends [2]conn.Conn){
		"another node": func(t *testing.T, c *cable, ends [2]conn.Conn) {
			var wrong *conn.WrongNodeError
			if err := c.ends[1].Carry(t.Context(), ends[0]); !errors.As(err, &wrong) {
				t.Errorf("Carry = %v", err)
			}
		},
		"a side that refuses": func(t *testing.T, c *cable, ends [2]conn.Conn) {
			go endpoint.Refuse(t.Context(), ends[1], &conn.CloseError{Code: conn.CodeRejected, Reason: "not a member"})
			var ce *conn.CloseError
			if err := c.ends[0].Carry(t.Context(), ends[0]); !errors.As(err, &ce) || !ce.Remote || ce.Reason != "not a member" {
				t.Errorf("Carry = %v", err)
			}
		},
		"silence": func(t *testing.T, c *cable, ends [2]conn.Conn) {
			start := time.Now()
			if err := c.ends[0].Carry(t.Context(), ends[0]); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
				t.Errorf("Carry = %v after %v", err, time.Since(start))
			}
		},
		"something else": func(t *testing.T, c *cable, ends [2]conn.Conn) {
			ends[1].Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			if err := c.ends[0].Carry(t.Context(), ends[0]); err == nil {
				t.Error("Carry = nil")
			}
		},
		"a peer that takes less": func(t *testing.T, c *cable, ends [2]conn.Conn) {
			c.close()
			c.start(0, endpoint.Config{})
			c.start(1, endpoint.Config{MaxMessage: 1000})
			go c.ends[1].Carry(t.Context(), ends[1])
			if err := c.ends[0].Carry(t.Context(), ends[0]); err == nil {
				t.Error("Carry = nil")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCable(t, endpoint.Config{})
				ends := c.conns()
				try(t, c, ends)
				if _, err := ends[0].Write([]byte("x")); err == nil {
					t.Error("the connection is still open")
				}
				ends[1].Close(nil)
				if err := c.ends[0].TrySend(nil); err != nil {
					t.Errorf("TrySend = %v", err)
				}
				c.close()
			})
		})
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []endpoint.Config{
		{MaxMessage: -1}, {MaxMessage: 9 << 20}, {Buffer: 10}, {MaxMessage: 1000, Buffer: 1003}, {Window: 5}, {AckDelay: -1}, {Probe: -1}, {Patience: -1}, {HandshakeTime: -1},
	} {
		if _, err := endpoint.New(t.Context(), key(t, 1).ID(), key(t, 2).ID(), cfg); err == nil {
			t.Errorf("New took %+v", cfg)
		}
	}
	if _, err := endpoint.New(t.Context(), key(t, 1).ID(), key(t, 1).ID(), endpoint.Config{}); err == nil {
		t.Error("New took an endpoint of a node to itself")
	}
}

func TestDatagramsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []uint64
		c := newCable(t, endpoint.Config{OnDatagram: func(p []byte) { got = append(got, binary.BigEndian.Uint64(p)) }})
		defer c.close()
		if err := c.ends[0].SendDatagram(nil); !errors.Is(err, conn.CodeUnreachable) {
			t.Errorf("SendDatagram without a connection = %v", err)
		}
		c.mustConnect()
		synctest.Wait()
		for n := range uint64(1000) { // the network holds 128: the rest is lost
			if err := c.ends[0].SendDatagram(binary.BigEndian.AppendUint64(nil, n)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		c.ends[0].SendDatagram(binary.BigEndian.AppendUint64(nil, 1000))
		synctest.Wait()
		for i := range got {
			if i > 0 && got[i] <= got[i-1] {
				t.Fatalf("%d came after %d", got[i], got[i-1])
			}
		}
		s := c.ends[1].Stats()
		if int(s.DatagramsReceived) != len(got) || s.DatagramsReceived+s.DatagramsMissed != 1001 {
			t.Errorf("%d came: %+v", len(got), s)
		}
		if err := c.ends[0].SendDatagram(make([]byte, 1200)); !errors.Is(err, endpoint.ErrTooLarge) {
			t.Errorf("SendDatagram of 1200 bytes = %v", err)
		}
	})
}

// The endpoint moves between workers all the time.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCable(t, endpoint.Config{})
		defer c.close()
		c.mustConnect()
		workers := []*endpoint.Worker{endpoint.NewWorker(t.Context()), endpoint.NewWorker(t.Context()), nil}
		go func() {
			for i := range 20000 {
				if i%7 == 0 {
					c.ends[0].SetWorker(workers[i%3])
				}
				if err := c.ends[0].Send(t.Context(), binary.BigEndian.AppendUint64(nil, uint64(i))); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		for i := range uint64(20000) {
			p, err := c.ends[1].Recv(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint64(p); got != i {
				t.Fatalf("%d came in place %d", got, i)
			}
		}
	})
}
