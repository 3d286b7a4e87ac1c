package raw_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/raw"
	"github.com/plexus-net/plexus/identity"
)

func TestTwoNodesTalkBothWays(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			config := raw.Config{Network: network}
			if network == "unix" {
				config.Address = t.TempDir() + "/sock"
			}
			echoed, heard := make(chan string, 1), make(chan string, 1)
			a, addr := listen(t, &hooks{message: func(_ context.Context, c *raw.Conn, msg []byte) {
				heard <- string(msg)
				if err := c.Send(append([]byte("re: "), msg...)); err != nil {
					t.Error(err)
				}
			}}, config)
			config.Address = ""
			b := start(t, &hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) { echoed <- string(msg) }}, config)
			c := connect(t, b, addr)
			if err := c.Send([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if got := wait(t, heard, "the message"); got != "hello" {
				t.Errorf("heard %q", got)
			}
			if got := wait(t, echoed, "the answer"); got != "re: hello" {
				t.Errorf("answered %q", got)
			}
			in, out := only(t, a).Info(), c.Info()
			if in.Direction != conn.Incoming || out.Direction != conn.Outgoing {
				t.Errorf("directions %v and %v, want incoming and outgoing", in.Direction, out.Direction)
			}
			if out.Remote.String() != addr {
				t.Errorf("Remote is %s, want %s", out.Remote, addr)
			}
		})
	}
}

func TestCountersAreExactAndSurviveTheirConnections(t *testing.T) {
	const messages, size = 100, 50
	got := make(chan struct{}, messages)
	a, addr := listen(t, &hooks{message: func(context.Context, *raw.Conn, []byte) { got <- struct{}{} }}, raw.Config{})
	b := start(t, &hooks{}, raw.Config{})
	c := connect(t, b, addr)
	for range messages {
		if err := c.Send(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for range messages {
		wait(t, got, "a message")
	}
	server := only(t, a)
	c.Disconnect(nil)
	wait(t, c.Done(), "the end")
	wait(t, server.Done(), "the end at the other side")
	const bytes = messages * (size + 2)
	sent, received := raw.Stats{MessagesSent: messages, BytesSent: bytes}, raw.Stats{MessagesReceived: messages, BytesReceived: bytes}
	for _, tt := range []struct {
		name      string
		got, want raw.Stats
	}{
		{"connection that sends", c.Stats(), sent},
		{"connection that receives", server.Stats(), received},
		{"node that sends", b.Stats().Stats, sent},
		{"node that receives", a.Stats().Stats, received},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, tt.got, tt.want)
		}
	}
	if s := a.Stats(); s.Opened != 1 || s.Ended[raw.Peer] != 1 || s.Started.IsZero() {
		t.Errorf("stats of the node: %+v", s)
	}
	if s := b.Stats(); s.Ended[raw.User] != 1 {
		t.Errorf("stats of the node that disconnected: %+v", s)
	}
}

func TestListeningCanBeToggledAndKeepsItsPort(t *testing.T) {
	a, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, &hooks{}, raw.Config{ConnectTimeout: 2 * time.Second})
	first := connect(t, b, addr)
	for range 3 {
		if err := a.StopListening(); err != nil {
			t.Fatal(err)
		}
		if got := a.ListeningAddr(); got != nil {
			t.Errorf("ListeningAddr is %v while it does not listen", got)
		}
		if _, err := b.Connect(t.Context(), addr); err == nil {
			t.Error("connected to a node that does not listen")
		}
		again, err := a.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again.String() != addr || a.ListeningAddr().String() != addr {
			t.Errorf("listens at %s again, want %s", again, addr)
		}
		if same, err := a.Listen(t.Context()); err != nil || same.String() != addr {
			t.Errorf("Listen of a node that listens: %v, %v", same, err)
		}
		connect(t, b, addr).Disconnect(nil)
	}
	if err := first.Err(); err != nil {
		t.Errorf("toggling the listener ended a connection: %v", err)
	}
}

func TestDisconnectIsolatesOneConnection(t *testing.T) {
	a, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, &hooks{}, raw.Config{})
	x, y := connect(t, b, addr), connect(t, b, addr)
	if x.ID() == y.ID() || x.ID() == 0 {
		t.Errorf("IDs %s and %s", x.ID(), y.ID())
	}
	if err := b.Disconnect(x.ID(), errors.New("enough")); err != nil {
		t.Fatal(err)
	}
	wait(t, x.Done(), "the end")
	until(t, "the other side noticed", func() bool { return a.NumConnected() == 1 })
	if y.Err() != nil || b.Conn(y.ID()) != y || b.NumConnected() != 1 {
		t.Error("the other connection is gone too")
	}
	if err := x.Err(); !errors.Is(err, raw.User) || err.Error() != "raw: connection ended: closed by this side: enough" {
		t.Errorf("ended with %v", err)
	}
	if err := x.Send(nil); !errors.Is(err, raw.User) {
		t.Errorf("Send on a connection that has ended: %v", err)
	}
	if err := b.Disconnect(x.ID(), nil); !errors.Is(err, raw.ErrNoConn) {
		t.Errorf("Disconnect of one that is gone: %v", err)
	}
	if n := b.DisconnectAddr(addr, raw.Replaced); n != 1 {
		t.Errorf("DisconnectAddr ended %d connections, want 1", n)
	}
	wait(t, y.Done(), "the end")
	if err := y.Err(); !errors.Is(err, raw.Replaced) {
		t.Errorf("ended with %v", err)
	}
}

func TestViewsOfTheStateAgree(t *testing.T) {
	a, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, &hooks{}, raw.Config{})
	var ids []identity.ConnID
	for range 5 {
		ids = append(ids, connect(t, b, addr).ID())
	}
	var listed []identity.ConnID
	for c := range b.Conns() {
		listed = append(listed, c.ID())
		if b.Conn(c.ID()) != c || c.Info().ID != c.ID() {
			t.Errorf("connection %s is another by its ID", c.ID())
		}
	}
	if !slices.Equal(ids, listed) || b.NumConnected() != 5 || b.NumConnecting() != 0 {
		t.Errorf("made %v, listed %v, connected %d, connecting %d", ids, listed, b.NumConnected(), b.NumConnecting())
	}
	until(t, "the other side has as many", func() bool { return a.NumConnected() == 5 && a.NumConnecting() == 0 })
}

func TestConnectingIsVisible(t *testing.T) {
	shaking, goOn := make(chan struct{}, 2), make(chan struct{})
	stall := func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
		shaking <- struct{}{}
		<-goOn
		return s, nil
	}
	a, addr := listen(t, &hooks{handshake: stall}, raw.Config{})
	b := start(t, &hooks{handshake: stall}, raw.Config{})
	connected := make(chan error, 1)
	go func() {
		_, err := b.Connect(context.Background(), addr)
		connected <- err
	}()
	wait(t, shaking, "a handshake")
	wait(t, shaking, "a handshake")
	for _, n := range []*raw.Node{a, b} {
		if n.NumConnecting() != 1 || n.NumConnected() != 0 {
			t.Errorf("connecting %d, connected %d, want 1 and 0", n.NumConnecting(), n.NumConnected())
		}
	}
	close(goOn)
	if err := wait(t, connected, "the connection"); err != nil {
		t.Fatal(err)
	}
	if b.NumConnecting() != 0 || b.NumConnected() != 1 {
		t.Errorf("connecting %d, connected %d, want 0 and 1", b.NumConnecting(), b.NumConnected())
	}
}

func TestANodeDoesNotConnectToItself(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0"} {
		n, addr := listen(t, &hooks{}, raw.Config{Address: address})
		_, port, _ := net.SplitHostPort(addr)
		for _, host := range []string{"127.0.0.1", "localhost"} {
			if _, err := n.Connect(t.Context(), net.JoinHostPort(host, port)); !errors.Is(err, raw.ErrSelf) {
				t.Errorf("listening at %s, connect to %s:%s: %v", address, host, port, err)
			}
		}
		if n.NumConnecting() != 0 || n.NumConnected() != 0 {
			t.Error("a place is still taken")
		}
	}
}

func TestOnePerAddressRefusesTheSecond(t *testing.T) {
	goOn := make(chan struct{})
	_, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, &hooks{handshake: func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) { <-goOn; return s, nil }},
		raw.Config{OnePerAddress: true})
	errs := make(chan error, 5)
	for range 5 {
		go func() {
			_, err := b.Connect(context.Background(), addr)
			errs <- err
		}()
	}
	for range 4 {
		if err := wait(t, errs, "a refusal"); !errors.Is(err, raw.ErrDuplicate) {
			t.Errorf("overlapping Connect: %v", err)
		}
	}
	close(goOn)
	if err := wait(t, errs, "the connection"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Connect(t.Context(), addr); !errors.Is(err, raw.ErrDuplicate) {
		t.Errorf("Connect to where a connection is: %v", err)
	}
	c := only(t, b)
	c.Disconnect(nil)
	wait(t, c.Done(), "the end")
	connect(t, b, addr)
}

// With ReplaceOlder a Connect renews a connection: the older one stays until the
// new one is there.
func TestReplaceOlderRenewsAConnection(t *testing.T) {
	shaking, goOn := make(chan struct{}, 1), make(chan error)
	why := make(chan *raw.EndError, 3)
	a, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, &hooks{
		handshake: func(_ context.Context, s net.Conn, _ conn.Direction) (net.Conn, error) {
			shaking <- struct{}{}
			return s, <-goOn
		},
		disconnect: func(_ context.Context, _ *raw.Conn, e *raw.EndError) { why <- e },
	}, raw.Config{OnePerAddress: true, ReplaceOlder: true})
	made := make(chan *raw.Conn, 1)
	renew := func(refuse error) *raw.Conn {
		go func() {
			c, err := b.Connect(context.Background(), addr)
			if !errors.Is(err, refuse) {
				t.Errorf("Connect: %v, want %v", err, refuse)
			}
			made <- c
		}()
		wait(t, shaking, "a handshake")
		if _, err := b.Connect(t.Context(), addr); !errors.Is(err, raw.ErrDuplicate) {
			t.Errorf("Connect beside another: %v, want ErrDuplicate", err)
		}
		goOn <- refuse
		return wait(t, made, "the result")
	}
	first := renew(nil)
	if c := renew(errBad); c != nil || first.Err() != nil {
		t.Errorf("a Connect that failed made %v, and the connection that was there has %v", c, first.Err())
	}
	second := renew(nil)
	if e := wait(t, why, "OnDisconnect"); e.Origin != raw.Replaced || !errors.Is(first.Err(), raw.Replaced) {
		t.Errorf("the older one ended with %v, want Replaced", e)
	}
	wait(t, first.Done(), "the end of the older one")
	third := renew(nil) // also when the older one is removed
	wait(t, second.Done(), "the end of the second")
	if s := b.Stats(); third.Err() != nil || b.NumConnected() != 1 || s.Ended[raw.Replaced] != 2 {
		t.Errorf("the last has %v, %d connected, ended %v", third.Err(), b.NumConnected(), s.Ended)
	}
	third.Disconnect(nil)
	wait(t, third.Done(), "the end")
	renew(nil)
	until(t, "the other side has one", func() bool { return a.NumConnected() == 1 })
}

func TestConnectUsingABoundSocket(t *testing.T) {
	a, addr := listen(t, &hooks{}, raw.Config{})
	b := start(t, &hooks{}, raw.Config{})
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}
	c, err := b.ConnectUsing(t.Context(), func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) })
	if err != nil {
		t.Skipf("no socket at 127.0.0.77 on this system: %v", err)
	}
	if from := only(t, a).Info().Remote.(*net.TCPAddr).IP.String(); from != "127.0.0.77" || c.Info().Local.(*net.TCPAddr).IP.String() != from {
		t.Errorf("connected from %s, want 127.0.0.77", from)
	}
}

func TestConnectUsingAnyStream(t *testing.T) {
	heard := make(chan string, 1)
	n := start(t, &hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) { heard <- string(msg) }}, raw.Config{})
	here, there := net.Pipe()
	c, err := n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return here, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Write(frame("over a pipe")); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, heard, "the message"); got != "over a pipe" {
		t.Errorf("heard %q", got)
	}
	there.Close()
	wait(t, c.Done(), "the end")
	if _, err := n.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return nil, nil }); err == nil {
		t.Error("connected with no stream")
	}
}

func TestShutdownIsCompleteAndFinal(t *testing.T) {
	why := make(chan *raw.EndError, 2)
	h := &hooks{disconnect: func(_ context.Context, _ *raw.Conn, e *raw.EndError) { why <- e }}
	a, addr := listen(t, h, raw.Config{})
	b := start(t, &hooks{}, raw.Config{ConnectTimeout: 2 * time.Second})
	x, y := connect(t, b, addr), connect(t, b, addr)
	until(t, "both are there", func() bool { return a.NumConnected() == 2 })
	shutdown(t, a)
	for range 2 {
		if e := wait(t, why, "OnDisconnect"); e.Origin != raw.Shutdown {
			t.Errorf("OnDisconnect with %v, want Shutdown", e)
		}
	}
	if a.NumConnected() != 0 || a.NumConnecting() != 0 || a.ListeningAddr() != nil {
		t.Error("something is left after Shutdown")
	}
	wait(t, x.Done(), "the other side to notice")
	wait(t, y.Done(), "the other side to notice")
	if !errors.Is(x.Err(), raw.Peer) || !errors.Is(x.Err(), io.EOF) {
		t.Errorf("the other side sees %v, want an orderly end by the peer", x.Err())
	}
	if _, err := b.Connect(t.Context(), addr); err == nil {
		t.Error("the listener is still there")
	}
	if _, err := a.Connect(t.Context(), "127.0.0.1:1"); !errors.Is(err, raw.ErrShutdown) {
		t.Errorf("Connect after Shutdown: %v", err)
	}
	if _, err := a.Listen(t.Context()); !errors.Is(err, raw.ErrShutdown) {
		t.Errorf("Listen after Shutdown: %v", err)
	}
	shutdown(t, a) // again
	wait(t, a.Done(), "Done")
}

func TestBroadcastTellsWhoDidNotTakeIt(t *testing.T) {
	heard := make(chan string, 4)
	h := &hooks{message: func(_ context.Context, _ *raw.Conn, msg []byte) { heard <- string(msg) }}
	b := start(t, &hooks{}, raw.Config{OutMessages: 1, OutBytes: 1})
	for range 3 {
		_, addr := listen(t, h, raw.Config{})
		connect(t, b, addr)
	}
	here, there := net.Pipe() // nobody reads
	defer there.Close()
	stuck, err := b.ConnectUsing(t.Context(), func(context.Context) (net.Conn, error) { return here, nil })
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the pipe is full", func() bool { return errors.Is(stuck.Send([]byte("x")), raw.ErrQueueFull) })
	failed := b.Broadcast([]byte("all"))
	if len(failed) != 1 || !errors.Is(failed[stuck.ID()], raw.ErrQueueFull) {
		t.Errorf("Broadcast failed for %v, want the one that is stuck", failed)
	}
	for range 3 {
		if got := wait(t, heard, "the broadcast"); got != "all" {
			t.Errorf("heard %q", got)
		}
	}
}
