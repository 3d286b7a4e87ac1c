package secure

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/origin"
)

type textAddr string

func (textAddr) Network() string  { return "text" }
func (a textAddr) String() string { return string(a) }

// A crowd begins handshakes that stay until they are ended. Each has the name of
// its host and a number.
type crowd struct {
	*Handshakes
	ended chan string
}

func newCrowd(t *testing.T, limit int) *crowd {
	c := &crowd{Handshakes: NewHandshakes(limit), ended: make(chan string, 1000)}
	t.Cleanup(c.Close)
	return c
}

func (c *crowd) begin(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		host, _, _ := strings.Cut(name, " ")
		var from net.Addr = textAddr(host)
		if _, err := netip.ParseAddr(host); err == nil {
			from = textAddr(net.JoinHostPort(host, "1"))
		}
		began := c.GoFrom(from, func(ctx context.Context) (conn.Conn, error) {
			<-ctx.Done()
			if errors.Is(context.Cause(ctx), errEvicted) {
				c.ended <- name
			}
			return nil, context.Cause(ctx)
		})
		if !began {
			t.Fatalf("%s did not begin", name)
		}
	}
}

func (c *crowd) wantEvicted(t *testing.T, name string) {
	t.Helper()
	if got := <-c.ended; got != name {
		t.Errorf("%q had to go, want %q", got, name)
	}
}

// Who takes many places loses the oldest of them; hosts with few keep theirs.
func TestTheHostWithMostGivesWay(t *testing.T) {
	for _, c := range []struct {
		name, begun, next, evicted string
	}{
		{"one host: its oldest", "192.0.2.1 a,192.0.2.1 b,192.0.2.1 c", "192.0.2.1 d", "192.0.2.1 a"},
		{"an older one of another host stays", "192.0.2.1 a,192.0.2.2 b,192.0.2.2 c", "192.0.2.2 d", "192.0.2.2 b"},
		{"it gives way to others, too", "192.0.2.1 a,192.0.2.2 b,192.0.2.2 c", "192.0.2.3 d", "192.0.2.2 b"},
		{"what begins counts", "192.0.2.1 a,192.0.2.2 b,192.0.2.3 c", "192.0.2.2 d", "192.0.2.2 b"},
		{"all hosts have one: the oldest of all", "192.0.2.1 a,192.0.2.2 b,192.0.2.3 c", "192.0.2.4 d", "192.0.2.1 a"},
		{"two hosts have most: the oldest of both", "192.0.2.1 a,192.0.2.2 b,192.0.2.3 c,192.0.2.3 d,192.0.2.2 e", "192.0.2.4 f", "192.0.2.2 b"},
		{"IPv4 in IPv6", "192.0.2.1 a,192.0.2.2 b,::ffff:192.0.2.2 c", "192.0.2.3 d", "192.0.2.2 b"},
		{"a /64 of IPv6", "2001:db8:1::1 a,2001:db8:2::1 b,2001:db8:2::2 c", "2001:db8:2::3 d", "2001:db8:2::1 b"},
		{"no addresses: the oldest", "a 1,b 2,c 3", "d 4", "a 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun := strings.Split(c.begun, ",")
			h := newCrowd(t, len(begun))
			h.begin(t, begun...)
			h.begin(t, c.next)
			h.wantEvicted(t, c.evicted)
			if n := h.Pending(); n != len(begun) {
				t.Errorf("Pending = %d, want %d", n, len(begun))
			}
		})
	}
}

// However many handshakes one host begins, those of others stay.
func TestOneHostKeepsNobodyOut(t *testing.T) {
	h := newCrowd(t, 8)
	h.begin(t, "192.0.2.1 honest", "192.0.2.2 honest")
	for range 500 {
		h.begin(t, "203.0.113.9 flood")
	}
	for range 500 - 6 {
		h.wantEvicted(t, "203.0.113.9 flood")
	}
	h.Close()
	select {
	case name := <-h.ended:
		t.Errorf("%s had to go", name)
	default:
	}
}

// A place that is charged to another host counts there, and no longer here.
func TestPlacesMove(t *testing.T) {
	at := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	h := NewHandshakes(3)
	defer h.Close()
	ended := make(chan int, 10)
	begin := func(i int, from, to net.Addr) {
		moved := make(chan struct{})
		h.start(origin.Host(origin.IP(from)), func(ctx context.Context, p *place) (conn.Conn, error) {
			h.move(p, to)
			h.move(p, to) // again is nothing
			close(moved)
			<-ctx.Done()
			h.move(p, from) // it may have no place any more
			ended <- i
			return nil, context.Cause(ctx)
		})
		<-moved
	}
	balancer := at("192.0.2.1:80")
	begin(0, balancer, at("198.51.100.1:1"))
	begin(1, balancer, at("198.51.100.2:1"))
	begin(2, balancer, at("198.51.100.2:2"))
	begin(3, at("198.51.100.3:1"), at("198.51.100.3:1"))
	if i := <-ended; i != 1 {
		t.Errorf("%d had to go, want 1: the older one of the host that holds two", i)
	}
	if n := h.Pending(); n != 3 {
		t.Errorf("Pending = %d, want 3", n)
	}
}

// The heap is right after any calls, and nothing is kept of hosts that are gone.
func TestPlacesKeepTheirOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var ps places
	var held []*place
	hosts := make([]netip.Prefix, 12)
	for i := range hosts {
		hosts[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
	}
	for range 20_000 {
		if random.IntN(2) == 0 && len(held) < 60 {
			p := &place{}
			ps.add(p, hosts[min(random.IntN(12), random.IntN(12))])
			held = append(held, p)
		} else if len(held) > 0 {
			i := random.IntN(len(held))
			if !ps.remove(held[i]) || ps.remove(held[i]) {
				t.Fatal("a place is removed once")
			}
			held = append(held[:i], held[i+1:]...)
		}
		if len(held) == 0 {
			continue
		}
		if got, want := ps.next(), mostByHand(held); got != want {
			t.Fatalf("next is place %d of %s, want %d of %s", got.age, got.host.prefix, want.age, want.host.prefix)
		}
	}
	for _, p := range held {
		ps.remove(p)
	}
	if ps.count != 0 || len(ps.hosts) != 0 || len(ps.byMost) != 0 {
		t.Errorf("%d places, %d hosts, %d in the heap are left", ps.count, len(ps.hosts), len(ps.byMost))
	}
}

// mostByHand is what next returns, found by looking at all.
func mostByHand(held []*place) *place {
	count := map[netip.Prefix]int{}
	for _, p := range held {
		count[p.host.prefix]++
	}
	best := held[0]
	for _, p := range held[1:] {
		n, m := count[p.host.prefix], count[best.host.prefix]
		if n > m || n == m && p.age < best.age {
			best = p
		}
	}
	return best
}

// BenchmarkEviction is what a place costs in a flood, beside a handshake's some
// 100 µs.
func BenchmarkEviction(b *testing.B) {
	var ps places
	hosts := make([]netip.Prefix, 1024)
	for i := range hosts {
		hosts[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 32)
	}
	for i := range 256 {
		ps.add(&place{}, hosts[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ps.add(&place{}, hosts[(i*7919)%len(hosts)])
		ps.remove(ps.next())
	}
}
