package network_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

func TestLimitConns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		h := b.with(1, p, limits(func(l *network.Limits) { l.Conns = 3 }))
		var peers []*raw
		for i := range 3 {
			peers = append(peers, b.opened(byte(10+i), h))
		}
		over := b.raw(20, h)
		over.send(hello())
		ce := over.goodbye()
		wantCode(t, ce, conn.CodeLimit)
		if !strings.Contains(ce.Reason, "Limits.Conns") {
			t.Errorf("the reason %q does not name the limit", ce.Reason)
		}
		if h.count("conns_limited") != 1 {
			t.Error("the refusal was not counted")
		}
		// One who comes back takes its old place.
		back := b.raw(10, h)
		back.send(hello(func(h *wire.Hello) { h.Instance++ }))
		back.want(wire.TypeHello)
		back.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
		back.want(wire.TypeReady)
		back.alive()
		wantConns(t, h, 3)
		// And there is room again when one leaves.
		peers[1].c.Close(nil)
		synctest.Wait()
		b.opened(21, h).alive()
		wantConns(t, h, 3)
	})
}

// elsewhere is a transport whose connections seem to come from other hosts.
type elsewhere struct {
	conn.Transport
	host func() string
}

type elsewhereListener struct {
	conn.Listener
	host func() string
}

type elsewhereConn struct {
	conn.Conn
	from identity.Address
}

func (e elsewhere) Listen(ctx context.Context, l conn.Local, a identity.Address) (conn.Listener, error) {
	ln, err := e.Transport.Listen(ctx, l, a)
	return elsewhereListener{ln, e.host}, err
}

func (e elsewhereListener) Accept(ctx context.Context) (conn.Conn, error) {
	c, err := e.Listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return elsewhereConn{c, identity.Address{Scheme: "mem", Host: e.host()}}, nil
}

func (e elsewhereConn) RemoteAddr() identity.Address { return e.from }

func TestLimitConnsPerHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		hosts := make(chan string, 10)
		h := b.with(1, newProbe(), func(c *network.Config) {
			c.Transports[0] = elsewhere{c.Transports[0], func() string { return <-hosts }}
			c.Limits.ConnsPerHost = 2
		})
		n := byte(10)
		try := func(from string) *raw {
			hosts <- from
			n++
			r := b.raw(n, h)
			r.send(hello())
			return r
		}
		ok := func(from string) *raw {
			t.Helper()
			r := try(from)
			r.want(wire.TypeHello)
			r.send(wire.AppendPrefix(nil, wire.TypeReady, 0))
			r.want(wire.TypeReady)
			return r
		}
		first := ok("192.0.2.1:1000")
		ok("192.0.2.1:2000")
		for _, from := range []string{"192.0.2.1:3000", "[::ffff:192.0.2.1]:4000"} {
			ce := try(from).goodbye()
			wantCode(t, ce, conn.CodeLimit)
			if !strings.Contains(ce.Reason, "Limits.ConnsPerHost") {
				t.Errorf("the reason %q does not name the limit", ce.Reason)
			}
		}
		ok("192.0.2.2:1000")
		ok("[2001:db8::1]:1")
		ok("[2001:db8::ffff:1]:1") // the same /64
		wantCode(t, try("[2001:db8::2]:1").goodbye(), conn.CodeLimit)
		ok("[2001:db8:0:1::2]:1")
		for range 5 {
			ok("127.0.0.1:1") // this host is not limited
		}
		first.c.Close(nil)
		time.Sleep(5 * time.Second)
		ok("192.0.2.1:5000")
	})
}

func TestLimitMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa, limits(func(l *network.Limits) { l.Message = 5000 })), b.with(2, pb, limits(func(l *network.Limits) { l.Message = 1000 }))
		connect(t, na, nb)
		ca, cb := get(t, pa.connected, "a"), get(t, pb.connected, "b")
		for _, to := range []router.Route{router.ToConn(ca.ID), router.ToNode(nb.Self())} {
			if err := pa.a.Send(to, 1, make([]byte, 1001)); !errors.Is(err, agent.ErrTooLarge) {
				t.Errorf("more than the other end takes, to %v: %v", to, err)
			}
			if err := pa.a.Send(to, 1, make([]byte, 1000)); err != nil {
				t.Errorf("as much as the other end takes, to %v: %v", to, err)
			}
			if m := get(t, pb.received, "a large message"); len(m.text) != 1000 {
				t.Errorf("received %d bytes", len(m.text))
			}
		}
		for _, to := range []router.Route{router.ToConn(cb.ID), router.ToNode(na.Self()), router.ToNode(nb.Self())} {
			if err := pb.a.Send(to, 1, make([]byte, 1001)); !errors.Is(err, agent.ErrTooLarge) {
				t.Errorf("more than this node's limit, to %v: %v", to, err)
			}
		}
		// A remote that does not keep the limit is closed, before the behaviour sees it.
		routed := wire.Routed{Rule: router.RuleNode, TTL: 3, Hops: 2, Service: service, Origin: key(t, 9).ID(), Target: nb.Self()}
		for i, frame := range [][]byte{
			directFrame(service, 1, string(make([]byte, 1001))),
			append(wire.AppendPeer(nil, &wire.Peer{Service: service}, 1001), make([]byte, 1001)...),
			append(wire.AppendRouted(nil, &routed, 1001), make([]byte, 1001)...),
			wire.AppendPrefix(nil, wire.TypeDirect, wire.MaxBody),
			wire.AppendPrefix(nil, 250, 1<<20),
		} {
			r := b.opened(byte(30+i), nb)
			r.send(frame)
			ce := r.goodbye()
			wantCode(t, ce, conn.CodeProtocol)
			if !strings.Contains(ce.Reason, "Limits.Message") {
				t.Errorf("frame %d: the reason %q does not name the limit", i, ce.Reason)
			}
			r.c.Close(nil)
		}
		synctest.Wait()
		if len(pb.received) != 0 {
			t.Error("a message above the limit arrived")
		}
	})
}

// Peers that connect and stay silent hold up nobody, and are given up.
func TestLimitHandshakes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		h := b.with(1, p, limits(func(l *network.Limits) { l.Handshakes = 20 }))
		var silent []*raw
		for i := range 100 {
			silent = append(silent, b.raw(byte(100+i), h))
			synctest.Wait()
		}
		start := time.Now()
		b.opened(2, h).alive()
		if d := time.Since(start); d != 0 {
			t.Errorf("an honest peer was held up by %v", d)
		}
		open := 0
		for _, r := range silent {
			if _, err := r.c.Write([]byte{0}); err == nil {
				open++
			}
		}
		if open > 20 {
			t.Errorf("%d handshakes are under way, want at most Limits.Handshakes, 20", open)
		}
		time.Sleep(11 * time.Second)
		for i, r := range silent {
			if _, err := r.c.Write([]byte{0}); err == nil {
				t.Fatalf("silent peer %d is still there", i)
			}
		}
		wantConns(t, h, 1)
	})
}

func TestLimitsAreChecked(t *testing.T) {
	b := newBench(t)
	for name, change := range map[string]func(*network.Limits){
		"Conns": func(l *network.Limits) { l.Conns = -1 }, "Message": func(l *network.Limits) { l.Message = 9 << 20 },
		"Hops": func(l *network.Limits) { l.Hops = 256 }, "IdleTime": func(l *network.Limits) { l.IdleTime = -1 },
		"RoutedWindow": func(l *network.Limits) { l.RoutedWindow = 100 },
	} {
		cfg := network.Config{Key: key(t, 1), Router: newDirect(key(t, 1).ID())}
		change(&cfg.Limits)
		if _, err := network.New(cfg); err == nil || !strings.Contains(err.Error(), "Limits."+name) {
			t.Errorf("Limits.%s: %v", name, err)
		}
	}
	for what, cfg := range map[string]network.Config{
		"Key": {Router: newDirect(identity.NodeID{})}, "Router": {Key: key(t, 1)},
		"Network":    {Key: key(t, 1), Router: newDirect(identity.NodeID{}), Network: "tab\t"},
		"Transports": {Key: key(t, 1), Router: newDirect(identity.NodeID{}), Transports: []conn.Transport{b.net.Transport(), b.net.Transport()}},
	} {
		if _, err := network.New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+what) {
			t.Errorf("Config.%s: %v", what, err)
		}
	}
}

// A peer that stops reading is closed after WriteTime; one that is silent, after
// IdleTime; one that answers probes stays.
func TestLimitTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb, pc := newProbe(), newProbe(), newProbe()
		na, nb, nc := b.with(1, pa), b.with(2, pb), b.with(3, pc)
		connect(t, na, nb)
		connect(t, na, nc)
		cb := get(t, pa.connected, "b")
		get(t, pa.connected, "c")
		synctest.Wait()
		deaf := b.opened(9, na)
		c := get(t, pa.connected, "the deaf peer")
		start := time.Now()
		for i := 0; pa.a.Send(router.ToConn(c.ID), 1, make([]byte, 10_000)) == nil; i++ {
		}
		lost := get2(t, pa.lost, 30*time.Second)
		wantCode(t, lost, conn.CodeTimeout)
		if d := time.Since(start); d < 10*time.Second || d > 11*time.Second || !strings.Contains(lost.Error(), "Limits.WriteTime") {
			t.Errorf("the peer that does not read was closed after %v: %v", d, lost)
		}
		if err := pa.a.Send(router.ToConn(cb.ID), 1, []byte("others go on")); err != nil {
			t.Fatal(err)
		}
		get(t, pb.received, "a message to another peer")
		deaf.c.Close(nil)

		start = time.Now()
		b.net.Stall(na.Self(), nc.Self())
		lost = get2(t, pa.lost, 2*time.Minute)
		if d := time.Since(start); d > 41*time.Second || !strings.Contains(lost.Error(), "Limits.IdleTime") {
			t.Errorf("the silent peer was closed after %v: %v", d, lost)
		}
		wantCode(t, lost, conn.CodeTimeout)
		b.net.Heal(na.Self(), nc.Self())
		time.Sleep(time.Hour) // of silence, in which the other peer answers probes
		if s := na.State(); len(s.Conns) != 1 || s.Conns[0].ID != cb.ID {
			t.Errorf("connections: %+v", s.Conns)
		}
	})
}

// get2 is get with a longer wait.
func get2[T any](t testing.TB, c <-chan T, d time.Duration) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(d):
		t.Fatal("nothing came in ", d)
	}
	return v
}

// feeble is a transport whose listener fails some times before it works.
type feeble struct {
	conn.Transport
	fails *int
}

type feebleListener struct {
	conn.Listener
	fails *int
}

func (f feeble) Listen(ctx context.Context, l conn.Local, a identity.Address) (conn.Listener, error) {
	ln, err := f.Transport.Listen(ctx, l, a)
	return feebleListener{ln, f.fails}, err
}

func (f feebleListener) Accept(ctx context.Context) (conn.Conn, error) {
	if *f.fails--; *f.fails >= 0 {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept(ctx)
}

// A listener that fails is tried again, without haste.
func TestAcceptErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var log logs
		fails, start := 10, time.Now()
		h := b.with(1, newProbe(), logTo(&log), func(c *network.Config) { c.Transports[0] = feeble{c.Transports[0], &fails} })
		b.opened(2, h).alive()
		if d := time.Since(start); d < 100*time.Millisecond || d > 10*time.Second {
			t.Errorf("ten errors of a listener took %v", d)
		}
		if n := len(log.having("too many open files")); n != 10 {
			t.Errorf("%d errors were logged, want 10", n)
		}
	})
}
