package network_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// What a remote may say in place of a hello, and what it is told.
func TestBadHello(t *testing.T) {
	ready := wire.AppendPrefix(nil, wire.TypeReady, 0)
	cut := hello()
	for _, c := range []struct {
		name string
		send []byte
		code conn.Code
		text string
	}{
		{"garbage", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), conn.CodeProtocol, ""},
		{"zeros", make([]byte, 100), conn.CodeProtocol, ""},
		{"a ready", ready, conn.CodeProtocol, ""},
		{"a message", directFrame(service, 1, "x"), conn.CodeProtocol, ""},
		{"an endless hello", wire.AppendPrefix(nil, wire.TypeHello, wire.MaxBody), conn.CodeProtocol, ""},
		{"a hello a little too long", wire.AppendPrefix(nil, wire.TypeHello, wire.MaxHello+1025), conn.CodeProtocol, ""},
		{"an empty hello", wire.AppendPrefix(nil, wire.TypeHello, 0), conn.CodeProtocol, "magic"},
		{"another magic", append(wire.AppendPrefix(nil, wire.TypeHello, 8), "pl3xus\r\n"...), conn.CodeProtocol, "magic"},
		{"a hello without fields", append(wire.AppendPrefix(nil, wire.TypeHello, 8), "plexus\r\n"...), conn.CodeProtocol, "required"},
		{"another network", hello(func(h *wire.Hello) { h.Network = "other" }), conn.CodeNetwork, `"other"`},
		{"another version", hello(func(h *wire.Hello) { h.MinVersion, h.MaxVersion = 7, 9 }), conn.CodeVersion, "versions 7 to 9"},
		{"a service twice", hello(func(h *wire.Hello) { h.Services = []wire.Service{probeService, probeService} }), conn.CodeProtocol, "twice"},
		{"two hellos", append(hello(), hello()...), conn.CodeProtocol, "type 1"},
		{"a hello and a message", append(hello(), directFrame(service, 1, "x")...), conn.CodeProtocol, "type 3"},
		{"a hello, and another after the handshake", slices.Concat(hello(), ready, hello()), conn.CodeProtocol, "after the handshake"},
		{"ready twice", slices.Concat(hello(), ready, ready), conn.CodeProtocol, "after the handshake"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				h := b.with(1, newProbe())
				r := b.raw(2, h)
				r.send(c.send)
				ce := r.goodbye()
				wantCode(t, ce, c.code)
				if !strings.Contains(ce.Reason, c.text) {
					t.Errorf("the reason is %q, want %q in it", ce.Reason, c.text)
				}
				r.c.Close(nil)
				synctest.Wait()
				wantConns(t, h, 0)
				b.opened(3, h).alive()
			})
		})
	}
	// A connection that ends within the handshake is no event.
	for n := range len(cut) {
		bubble(t, func(t *testing.T) {
			b := newBench(t)
			p := newProbe()
			h := b.with(1, p)
			r := b.raw(2, h)
			r.send(cut[:n])
			synctest.Wait()
			r.c.Close(nil)
			synctest.Wait()
			if wantConns(t, h, 0); len(p.connected) != 0 {
				t.Error("a connection opened")
			}
		})
	}
}

// What an open connection may bring, and what becomes of it.
func TestBadFrames(t *testing.T) {
	self := key(t, 1).ID()
	routed := func(f func(*wire.Routed), payload string) []byte {
		h := wire.Routed{Rule: router.RuleNode, TTL: 5, Hops: 1, Service: service, Origin: key(t, 2).ID(), Target: self}
		f(&h)
		return append(wire.AppendRouted(nil, &h, len(payload)), payload...)
	}
	short := func(t wire.Type, n int) []byte { return append(wire.AppendPrefix(nil, t, n), make([]byte, n)...) }
	long := routed(func(*wire.Routed) {}, "")
	long[wire.PrefixSize+11] = 1 // an extension longer than the frame
	for _, c := range []struct {
		name string
		send []byte
	}{
		{"a direct message without header", short(wire.TypeDirect, 3)},
		{"a peer message without header", short(wire.TypePeer, wire.PeerHeader-1)},
		{"a routed message without header", short(wire.TypeRouted, wire.RoutedHeader-1)},
		{"a routed message by rule 0", routed(func(h *wire.Routed) { h.Rule = 0 }, "x")},
		{"a routed message by connection", routed(func(h *wire.Routed) { h.Rule = router.RuleConn }, "x")},
		{"a routed message by rule 99", routed(func(h *wire.Routed) { h.Rule = 99 }, "x")},
		{"an extension that is not there", long},
		{"a short credit", short(wire.TypeCredit, 5)},
		{"a short ping", short(wire.TypePing, 7)},
		{"a short pong", short(wire.TypePong, 7)},
		{"a short report", short(wire.TypeReport, wire.ReportBody-1)},
		{"a short refusal", short(wire.TypeRefused, 2)},
		{"a short goodbye", short(wire.TypeGoodbye, 1)},
		{"services cut short", short(wire.TypeServices, 5)},
		{"service 0", short(wire.TypeServices, 12)},
		{"a service twice", servicesFrame(probeService, probeService)},
		{"an endless frame", wire.AppendPrefix(nil, wire.TypeDirect, wire.MaxBody)},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				p := newProbe()
				h := b.with(1, p)
				other, r := b.opened(3, h), b.opened(2, h)
				get(t, p.connected, "one")
				get(t, p.connected, "two")
				r.send(directFrame(service, 1, "before"))
				r.send(append(slices.Clone(c.send), directFrame(service, 1, "after")...))
				wantCode(t, r.goodbye(), conn.CodeProtocol)
				r.c.Close(nil)
				wantCode(t, get(t, p.lost, "OnDisconnect"), conn.CodeProtocol)
				other.alive()
				if h.count("protocol_errors") != 1 || h.count("panics") != 0 {
					t.Errorf("counters: %v", h.State().Counters)
				}
				if m := get(t, p.received, "what came before"); m.text != "before" || len(p.received) != 0 {
					t.Errorf("received %q and %d more", m.text, len(p.received))
				}
			})
		})
	}
}

// After a goodbye nothing counts; the goodbye's text is not trusted.
func TestAfterGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		h := b.with(1, p)
		r := b.opened(2, h)
		get(t, p.connected, "OnConnect")
		r.send(slices.Concat(directFrame(service, 1, "before"), wire.AppendGoodbye(nil, 999, "red\x1b[31m\x00"+strings.Repeat("x", 300)),
			directFrame(service, 1, "after"), wire.AppendPrefix(nil, wire.TypeDirect, wire.MaxBody)))
		err := get(t, p.lost, "OnDisconnect")
		var ce *conn.CloseError
		if !errors.As(err, &ce) || ce.Code != 999 || !ce.Remote || !strings.HasPrefix(ce.Reason, "red?[31m?xxx") || len(ce.Reason) > 256 {
			t.Errorf("the cause is %q", err)
		}
		if m := get(t, p.received, "what came before"); m.text != "before" || len(p.received) != 0 || h.count("protocol_errors") != 0 {
			t.Errorf("received %q and %d more, %d protocol errors", m.text, len(p.received), h.count("protocol_errors"))
			for len(p.received) > 0 {
				m := <-p.received
				t.Error(m.text, m.Conn)
			}
		}
	})
}

// A node does not connect to itself, whatever name it is given.
func TestDialledItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		h := b.with(1, newProbe())
		r := b.raw(1, h) // has the node's own key
		r.send(hello())
		wantCode(t, r.goodbye(), conn.CodeSelf)
		_, err := h.Connect(soon(t), identity.PeerAddress{ID: key(t, 7).ID(), Addresses: []identity.Address{h.addr}})
		if err == nil {
			t.Error("a node connected to itself")
		}
		wantConns(t, h, 0)
	})
}

// A hello that trickles in is given up after HandshakeTime, however it trickles.
func TestSlowHello(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		h := b.with(1, newProbe(), limits(func(l *network.Limits) { l.HandshakeTime = 3 * time.Second }))
		start := time.Now()
		r := b.raw(2, h)
		b.opened(3, h).alive()
		for _, c := range hello() {
			if _, err := r.c.Write([]byte{c}); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		wantCode(t, r.ended(), conn.CodeTimeout)
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("the slow peer was given up after %v", d)
		}
		// One who says hello and is never ready is given up, too.
		start = time.Now()
		r = b.raw(4, h)
		r.send(hello())
		wantCode(t, r.ended(), conn.CodeTimeout)
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("the unready peer was given up after %v", d)
		}
		wantConns(t, h, 1)
	})
}

// Frames may come in any pieces.
func TestFramesInPieces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		h := b.with(1, p)
		r := b.opened(2, h)
		dice := rand.New(rand.NewPCG(3, 4))
		var all []byte
		var want []string
		for i := range 300 {
			text := fmt.Sprint(i) + strings.Repeat("x", dice.IntN(5000))
			want = append(want, text)
			all = append(all, directFrame(service, 1, text)...)
		}
		for len(all) > 0 {
			n := min(len(all), 1+dice.IntN(1<<dice.IntN(15)))
			r.send(all[:n])
			all = all[n:]
			if dice.IntN(10) == 0 {
				synctest.Wait()
			}
		}
		for _, w := range want {
			if m := get(t, p.received, "a message"); m.text != w {
				t.Fatalf("received %.10q of %d bytes, want %.10q of %d", m.text, len(m.text), w, len(w))
			}
		}
	})
}

// Random bytes on an open connection: never a panic, and never harm to others.
func TestRandomFrames(t *testing.T) {
	b := newBench(t)
	q := &quiet{}
	h := b.host(1)
	register(t, h, service, q)
	h.run("mem://a")
	honest := b.opened(99, h)
	for seed := range uint64(150) {
		dice := rand.New(rand.NewPCG(seed, 5))
		r := b.opened(byte(2+seed%90), h)
		for range 50 {
			frame := wire.AppendPrefix(nil, wire.Type(dice.IntN(16)), dice.IntN(120))
			_, n := wire.Prefix(frame)
			for range n {
				frame = append(frame, byte(dice.IntN(256)>>dice.IntN(8)))
			}
			if _, err := r.c.Write(frame); err != nil {
				break
			}
		}
		r.c.Close(nil)
	}
	honest.alive()
	h.close()
	if n := h.count("panics"); n != 0 {
		t.Errorf("%d panics", n)
	}
	if in, out := q.connects.Load(), q.disconnects.Load(); in != out || in < 151 {
		t.Errorf("%d OnConnect and %d OnDisconnect", in, out)
	}
}

// The same over a real socket.
func TestBadInputOverTCP(t *testing.T) {
	h := newBench(t).host(1, func(c *network.Config) { c.Transports = []conn.Transport{tcp.New()} })
	p := newProbe()
	register(t, h, service, p)
	h.run("tcp://127.0.0.1:0")
	tr := tcp.New()
	t.Cleanup(func() { tr.Close() })
	for i, c := range []struct {
		send []byte
		code conn.Code
	}{
		{[]byte("garbage, and not a hello"), conn.CodeProtocol},
		{hello(func(h *wire.Hello) { h.Network = "other" }), conn.CodeNetwork},
		{slices.Concat(hello(), wire.AppendPrefix(nil, wire.TypeReady, 0), wire.AppendPrefix(nil, wire.TypeRouted, wire.MaxBody)), conn.CodeProtocol},
	} {
		c1, err := tr.Dial(t.Context(), conn.Local{Key: key(t, byte(50+i))}, h.Self(), h.addr)
		if err != nil {
			t.Fatal(err)
		}
		r := &raw{t: t, c: c1}
		r.send(c.send)
		wantCode(t, r.goodbye(), c.code)
		c1.Close(nil)
	}
	na := newBench(t).host(2, func(c *network.Config) { c.Transports = []conn.Transport{tcp.New()} })
	register(t, na, service, newProbe())
	na.run("tcp://127.0.0.1:0")
	connect(t, na, h)
	get(t, p.connected, "an honest peer")
}
