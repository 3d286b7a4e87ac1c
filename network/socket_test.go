package network_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// A socket is a transport over real sockets, and one who begins a handshake of
// it and never goes on.
type socket struct {
	name    string
	open    func() conn.Transport
	stalled func(t *testing.T, to identity.Address)
}

var sockets = []socket{
	{"tcp", func() conn.Transport { return tcp.New() }, stalledTCP},
	{"quic", func() conn.Transport { return quic.New() }, stalledQUIC},
}

// overSockets runs a test over each of them.
func overSockets(t *testing.T, f func(t *testing.T, s socket)) {
	for _, s := range sockets {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

// host makes and runs a node with a probe.
func (s socket) host(t *testing.T, n byte, p *probe, prepare ...func(*network.Config)) *host {
	t.Helper()
	own := func(c *network.Config) { c.Transports = []conn.Transport{s.open()} }
	h := newBench(t).host(n, append(prepare, own)...)
	register(t, h, service, p)
	return h.run(s.name + "://127.0.0.1:0")
}

// raw is a peer that has proven who it is, and has said nothing else.
func (s socket) raw(t *testing.T, n byte, to *host) *raw {
	t.Helper()
	tr := s.open()
	t.Cleanup(func() { tr.Close() })
	k := key(t, n)
	c, err := tr.Dial(soon(t), conn.Local{Key: k}, to.Self(), to.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(nil) })
	return &raw{t: t, key: k, c: c}
}

// opened is raw that has opened the connection.
func (s socket) opened(t *testing.T, n byte, to *host, window uint32) *raw {
	t.Helper()
	r := s.raw(t, n, to)
	mine := probeService
	mine.Window = window
	r.send(hello(func(h *wire.Hello) { h.Services = []wire.Service{mine} }))
	r.want(wire.TypeHello)
	r.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
	r.want(wire.TypeReady)
	r.alive()
	return r
}

// stalledTCP connects and never begins with TLS.
func stalledTCP(t *testing.T, to identity.Address) {
	c, err := net.Dial("tcp", to.Host)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { c.Close() })
}

// deafPacketConn is a socket that receives nothing.
type deafPacketConn struct {
	net.PacketConn
	sent func()
}

func (d deafPacketConn) ReadFrom([]byte) (int, net.Addr, error) {
	buf := make([]byte, 2048)
	for {
		if n, a, err := d.PacketConn.ReadFrom(buf); err != nil {
			return n, a, err
		}
	}
}

func (d deafPacketConn) WriteTo(p []byte, a net.Addr) (int, error) {
	defer d.sent()
	return d.PacketConn.WriteTo(p, a)
}

// stalledQUIC sends the first packet of a handshake and hears no answer.
func stalledQUIC(t *testing.T, to identity.Address) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	target, err := net.ResolveUDPAddr("udp", to.Host)
	if err != nil {
		t.Error(err)
		return
	}
	sent := make(chan struct{})
	tr := &quicgo.Transport{Conn: deafPacketConn{pc, sync.OnceFunc(func() { close(sent) })}}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{secure.ALPN}}
		if _, err := tr.Dial(ctx, target, c, &quicgo.Config{HandshakeIdleTimeout: time.Minute}); err == nil {
			t.Error("the deaf has heard")
		}
	})
	t.Cleanup(func() {
		cancel()
		work.Wait()
		tr.Close()
		pc.Close()
	})
	get(t, sent, "the first packet")
}

// What a remote may say before a connection is open, over real sockets.
func TestBadHelloOverSockets(t *testing.T) {
	overSockets(t, func(t *testing.T, s socket) {
		h := s.host(t, 1, newProbe())
		honest := s.opened(t, 99, h, 1<<20)
		for i, c := range []struct {
			name string
			send []byte
			code conn.Code
		}{
			{"garbage", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), conn.CodeProtocol},
			{"an endless hello", wire.AppendPrefix(nil, wire.TypeHello, wire.MaxBody), conn.CodeProtocol},
			{"a message", directFrame(service, 1, "x"), conn.CodeProtocol},
			{"another network", hello(func(h *wire.Hello) { h.Network = "other" }), conn.CodeNetwork},
			{"later versions", hello(func(h *wire.Hello) { h.MinVersion, h.MaxVersion = 7, 9 }), conn.CodeVersion},
			{"earlier versions", hello(func(h *wire.Hello) { h.MinVersion, h.MaxVersion = 0, 0 }), conn.CodeVersion},
			{"two hellos", append(hello(), hello()...), conn.CodeProtocol},
		} {
			r := s.raw(t, byte(10+i), h)
			r.send(c.send)
			if ce := r.goodbye(); !errors.Is(ce, c.code) {
				t.Errorf("%s: the goodbye is %v, want the code %q", c.name, ce, c.code)
			}
			r.c.Close(nil)
			honest.alive()
		}
		wantConns(t, h, 1)
		s.opened(t, 98, h, 1<<20)
	})
}

// What an open connection may bring: the unknown is answered, and costs nothing;
// what is not the protocol costs the connection, and no other.
func TestBadFramesOverSockets(t *testing.T) {
	overSockets(t, func(t *testing.T, s socket) {
		h := s.host(t, 1, newProbe())
		honest := s.opened(t, 99, h, 1<<20)
		r := s.opened(t, 2, h, 1<<20)
		r.send(append(wire.AppendPrefix(nil, 200, 5), "abcde"...))
		if frame, _, err := wire.ParseRefused(r.until(wire.TypeRefused)); frame != 200 || err != nil {
			t.Errorf("an unknown frame type: refused %d, %v", frame, err)
		}
		r.send(directFrame(999, 1, "x"))
		if _, id, err := wire.ParseRefused(r.until(wire.TypeRefused)); id != 999 || err != nil {
			t.Errorf("an unknown service: refused %d, %v", id, err)
		}
		r.alive()
		for i, bad := range [][]byte{
			wire.AppendPrefix(nil, wire.TypeDirect, wire.MaxBody),
			wire.AppendPrefix(nil, wire.TypeRouted, wire.MaxBody),
			wire.AppendPrefix(nil, 250, wire.MaxBody),
			append(wire.AppendPrefix(nil, wire.TypeDirect, 3), "abc"...),
			hello(),
		} {
			r := s.opened(t, byte(10+i), h, 1<<20)
			r.send(slices.Concat(bad, directFrame(service, 1, "after")))
			wantCode(t, r.goodbye(), conn.CodeProtocol)
			r.c.Close(nil)
			honest.alive()
		}
		if n := h.count("panics"); n != 0 {
			t.Errorf("%d panics", n)
		}
	})
}

// A node connects neither to itself nor to another than it has asked for.
func TestWrongNodeOverSockets(t *testing.T) {
	overSockets(t, func(t *testing.T, s socket) {
		h := s.host(t, 1, newProbe())
		r := s.raw(t, 1, h) // has the node's own key
		r.send(hello())
		wantCode(t, r.goodbye(), conn.CodeSelf)
		other := s.host(t, 2, newProbe())
		for i, to := range []*host{h, other} {
			_, err := h.Connect(soon(t), identity.PeerAddress{ID: key(t, byte(7+i)).ID(), Addresses: []identity.Address{to.addr}})
			var wrong *conn.WrongNodeError
			if !errors.As(err, &wrong) || wrong.Got != to.Self() {
				t.Errorf("Connect to another node at the address of %v: %v", to.Self().Short(), err)
			}
		}
		wantConns(t, h, 0)
		connect(t, h, other)
	})
}

// A method that is not there is an error of the call, and of nothing else.
func TestUnknownMethodOverSockets(t *testing.T) {
	overSockets(t, func(t *testing.T, s socket) {
		client, server := rpc.NewClient(), rpc.NewClient()
		have, lack := rpc.NewMethod[string, string]("have"), rpc.NewMethod[string, string]("lack")
		p := &served{}
		have.Handle(&p.Server, func(_ context.Context, q string) (string, error) { return q, nil })
		na, nb := s.host(t, 1, newProbe()), s.host(t, 2, newProbe())
		register(t, na, 71, client)
		register(t, nb, 71, server)
		register(t, nb, 72, p)
		connect(t, na, nb)
		for _, c := range []struct {
			m    rpc.Method[string, string]
			to   router.Route
			want error
		}{
			{lack, router.ToNode(nb.Self()).At(72), rpc.NoMethod},
			{have, router.ToNode(nb.Self()).At(999), rpc.NoService},
			{have, router.ToNode(nb.Self()).At(72), nil},
		} {
			if _, err := c.m.Call(soon(t), client, c.to, "x"); !errors.Is(err, c.want) {
				t.Errorf("call to %v: %v, want %v", c.to, err, c.want)
			}
		}
	})
}

// A hundred handshakes that stall, at any step, hold up nobody.
func TestStalledHandshakesOverSockets(t *testing.T) {
	const count = 100
	overSockets(t, func(t *testing.T, s socket) {
		p := newProbe()
		h := s.host(t, 1, p)
		honest := s.opened(t, 99, h, 1<<20)
		get(t, p.connected, "the honest peer")
		for _, c := range []struct {
			name  string
			stall func(i int)
		}{
			{"before TLS", func(int) { s.stalled(t, h.addr) }},
			{"before the hello", func(i int) { s.raw(t, byte(100+i), h) }},
			{"within the hello", func(i int) { s.raw(t, byte(100+i), h).send(hello()[:20]) }},
		} {
			for i := range count {
				c.stall(i)
			}
			began := time.Now()
			honest.alive()
			old := time.Since(began)
			began = time.Now()
			s.opened(t, 98, h, 1<<20).c.Close(nil)
			took := time.Since(began)
			get(t, p.lost, "the end of the new connection")
			t.Logf("%s: an open connection answered in %v, a new one opened in %v", c.name, old, took)
			if old > time.Second || took > 2*time.Second {
				t.Errorf("beside %d handshakes stalled %s, an open connection answered in %v and a new one opened in %v", count, c.name, old, took)
			}
		}
		wantConns(t, h, 1)
	})
}

// A peer that never reads fills its own window, delays nobody else, and is given
// up: after IdleTime if all that it may have has been written, else after
// WriteTime.
func TestDeafPeerOverSockets(t *testing.T) {
	for name, window := range map[string]uint32{"IdleTime": 1 << 20, "WriteTime": wire.MaxWindow} {
		t.Run(name, func(t *testing.T) {
			overSockets(t, func(t *testing.T, s socket) {
				t.Parallel() // they wait
				deafPeer(t, s, name, window)
			})
		})
	}
}

func deafPeer(t *testing.T, s socket, limit string, window uint32) {
	pa, pb := newProbe(), newProbe()
	na := s.host(t, 1, pa, limits(func(l *network.Limits) {
		l.IdleTime, l.WriteTime = 3*time.Second, time.Minute
		if limit == "WriteTime" {
			l.IdleTime, l.WriteTime = time.Minute, time.Second
		}
	}))
	nb := s.host(t, 2, pb)
	other := connect(t, na, nb)
	get(t, pa.connected, "the other peer")
	s.opened(t, 3, na, window) // and reads nothing more
	deaf := get(t, pa.connected, "the deaf peer")

	payload := make([]byte, 32<<10)
	sent := 0
	for ; sent < 1000; sent++ {
		err := pa.a.Send(router.ToConn(deaf.ID), 1, payload)
		if errors.Is(err, agent.ErrQueueFull) || errors.Is(err, agent.ErrNoConn) { // the latter on a slow machine: it is lost already
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if most := int(window) / len(payload); sent == 0 || sent > most {
		t.Errorf("%d messages were taken, want at most %d", sent, most)
	}
	began, slowest, rounds := time.Now(), time.Duration(0), 0
	for lost := (error)(nil); lost == nil; rounds++ {
		sentAt := time.Now()
		if err := pa.a.Send(router.ToConn(other.ID), 1, []byte("others go on")); err != nil {
			t.Fatal(err)
		}
		get(t, pb.received, "a message to the other peer")
		slowest = max(slowest, time.Since(sentAt))
		select {
		case lost = <-pa.lost:
			wantCode(t, lost, conn.CodeTimeout)
			if !strings.Contains(lost.Error(), "Limits."+limit) {
				t.Errorf("the deaf peer was lost to %v, want Limits.%s", lost, limit)
			}
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("the deaf peer is still there")
		}
	}
	t.Logf("given up after %v; of %d messages to the other peer the slowest took %v", time.Since(began), rounds, slowest)
	if slowest > 2*time.Second {
		t.Errorf("a message to the other peer took %v", slowest)
	}
	wantConns(t, na, 1)
}

// served is a behaviour that serves calls and has no messages of its own.
type served struct{ rpc.Server }

func (*served) OnMessage(*agent.Behavior, *conn.Message) {}
