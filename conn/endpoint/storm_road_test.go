package endpoint_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/faultproxy"
)

// A road leads from node 0 to node 1 over one transport, through what breaks it.
type road struct {
	keys    [2]identity.PrivateKey
	from    conn.Transport
	l       conn.Listener
	addr    identity.Address  // to dial
	strokes []stroke          // that it can strike
	breaks  []stroke          // those that end connections, and make both ends see it
	struck  func() int        // how many of those that strike later have
	udp     *faultproxy.Relay // for QUIC
	close   []func() error
}

// A stroke breaks what is on a road. It strikes now, or some bytes later in a
// direction.
type stroke struct {
	name  string
	later bool // it strikes behind some bytes more
	do    func(rng *rand.Rand, dir faultproxy.Direction)
	ride  func(r *ride, rng *rand.Rand) // in place of do: by an endpoint
}

const hole = 200 * time.Millisecond

var transports = []string{"tcp", "quic", "ws", "mem"}

func newRoad(t testing.TB, transport string, seed uint64) *road {
	t.Helper()
	r := &road{keys: [2]identity.PrivateKey{key(t, 1), key(t, 2)}, struck: func() int { return 0 }}
	switch transport {
	case "tcp":
		r.listen(t, tcp.New(), tcp.New(), identity.Address{Scheme: "tcp", Host: "127.0.0.1:0"})
		r.proxy(t)
	case "ws":
		r.listen(t, ws.New(), ws.New(), identity.Address{Scheme: "ws", Host: "127.0.0.1:0", Path: "/storm"})
		r.proxy(t)
	case "quic":
		r.listen(t, quic.New(), quic.New(), identity.Address{Scheme: "quic", Host: "127.0.0.1:0"})
		r.relay(t, seed)
	case "mem":
		n := mem.NewNetwork()
		r.listen(t, n.Transport(), n.Transport(), identity.Address{Scheme: "mem", Host: "b"})
		r.memory(n)
	}
	r.strokes = append(r.strokes, stroke{name: "duplicate", ride: func(r *ride, _ *rand.Rand) { r.again() }})
	r.strokes = append(r.strokes, stroke{name: "disconnect", ride: func(r *ride, rng *rand.Rand) { r.ends[rng.IntN(2)].Disconnect(nil) }})
	t.Cleanup(func() { r.end(t) })
	return r
}

func (r *road) listen(t testing.TB, from, to conn.Transport, addr identity.Address) {
	t.Helper()
	l, err := to.Listen(t.Context(), conn.Local{Key: r.keys[1]}, addr)
	if err != nil {
		t.Fatal(err)
	}
	r.from, r.l, r.addr = from, l, l.Addr()
	r.close = []func() error{from.Close, l.Close, to.Close}
}

// proxy puts a proxy for TCP on the road.
func (r *road) proxy(t testing.TB) {
	p, err := faultproxy.NewProxy(r.addr.Host, faultproxy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.addr.Host = p.Addr()
	r.close = append(r.close, p.Close)
	for _, f := range []faultproxy.Fault{faultproxy.Close, faultproxy.Reset, faultproxy.HalfUp, faultproxy.HalfDown} {
		s := stroke{name: f.String(), later: true, do: func(rng *rand.Rand, dir faultproxy.Direction) {
			p.BreakAt(dir, 1+rng.Int64N(32<<10), f)
		}}
		r.strokes = append(r.strokes, s)
		if f == faultproxy.Reset || f == faultproxy.Close {
			r.breaks = append(r.breaks, s)
		}
	}
	r.strokes = append(r.strokes, stroke{name: "blackhole", do: func(*rand.Rand, faultproxy.Direction) { p.Blackhole(hole, 0) }})
	r.struck = func() int {
		f := p.Stats().Faults
		return int(f[faultproxy.Close] + f[faultproxy.Reset] + f[faultproxy.HalfUp] + f[faultproxy.HalfDown])
	}
}

// relay puts a relay for UDP on the road, on which packets are lost.
func (r *road) relay(t testing.TB, seed uint64) {
	u, err := faultproxy.NewRelay(r.addr.Host, seed)
	if err != nil {
		t.Fatal(err)
	}
	u.SetWeather(faultproxy.Weather{Drop: 0.002, Duplicate: 0.005, Reorder: 0.005})
	r.addr.Host, r.udp = u.Addr(), u
	r.close = append(r.close, u.Close)
	r.strokes = append(r.strokes,
		stroke{name: "blackhole", do: func(*rand.Rand, faultproxy.Direction) { u.Blackhole(); time.AfterFunc(hole, u.Heal) }},
		stroke{name: "rebind", do: func(*rand.Rand, faultproxy.Direction) {
			if err := u.Rebind(); err != nil {
				t.Error(err)
			}
		}})
}

// memory breaks connections in memory.
func (r *road) memory(n *mem.Network) {
	a, b := r.keys[0].ID(), r.keys[1].ID()
	cut := stroke{name: "cut", do: func(*rand.Rand, faultproxy.Direction) { n.Cut(a, b); n.Heal(a, b) }}
	r.breaks = append(r.breaks, cut)
	r.strokes = append(r.strokes, cut, stroke{name: "stall", do: func(*rand.Rand, faultproxy.Direction) { n.Stall(a, b); time.AfterFunc(hole, func() { n.Heal(a, b) }) }})
}

// dial goes down the road.
func (r *road) dial(ctx context.Context) (conn.Conn, error) {
	return r.from.Dial(ctx, conn.Local{Key: r.keys[0]}, r.keys[1].ID(), r.addr)
}

func (r *road) end(t testing.TB) {
	for _, f := range r.close {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	r.close = nil
}
