package network_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
)

// A first is another transport in memory, with addresses of its own: first://x is
// mem://x of its network.
type first struct {
	conn.Transport
	dials *atomic.Int64
	wrap  func(conn.Conn) conn.Conn // its connections, at both ends
}

type firstListener struct {
	conn.Listener
	wrap func(conn.Conn) conn.Conn
}

func (first) Schemes() []string { return []string{"first"} }

func (f first) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	f.dials.Add(1)
	addr.Scheme = "mem"
	c, err := f.Transport.Dial(ctx, local, peer, addr)
	if err != nil {
		return nil, err
	}
	return f.wrap(c), nil
}

func (f first) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	addr.Scheme = "mem"
	l, err := f.Transport.Listen(ctx, local, addr)
	return firstListener{l, f.wrap}, err
}

func (l firstListener) Addr() identity.Address {
	a := l.Listener.Addr()
	a.Scheme = "first"
	return a
}

func (l firstListener) Accept(ctx context.Context) (conn.Conn, error) {
	c, err := l.Listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// A crossing is two nodes that are connected by two networks, of which a prefers
// the first.
type crossing struct {
	*bench
	t       *testing.T
	first   *mem.Network // first://; the bench's is mem://
	pa, pb  *counter
	na, nb  *host
	dials   [2]atomic.Int64 // by a and b, of first://
	here    conn.Info       // at a
	there   conn.Info       // at b
	blocked bool
}

// newCrossing connects the nodes. swap: their IDs are exchanged.
func newCrossing(t *testing.T, swap bool, prepare ...func(*network.Config)) *crossing {
	return newWrappedCrossing(t, swap, func(c conn.Conn) conn.Conn { return c }, prepare...)
}

func newWrappedCrossing(t *testing.T, swap bool, wrap func(conn.Conn) conn.Conn, prepare ...func(*network.Config)) *crossing {
	x := &crossing{bench: durableBench(t), t: t, first: mem.NewNetwork(), pa: newCounter(t), pb: newCounter(t)}
	ids := [2]byte{1, 2}
	if swap {
		ids = [2]byte{2, 1}
	}
	both := func(i int) func(c *network.Config) {
		return func(c *network.Config) {
			c.Transports = append(c.Transports, first{x.first.Transport(), &x.dials[i], wrap})
			for _, p := range prepare {
				p(c)
			}
		}
	}
	x.na, x.nb = x.with(ids[0], x.pa.probe, both(0)), x.with(ids[1], x.pb.probe, both(1))
	if _, err := x.nb.Listen(t.Context(), "first://b:1"); err != nil {
		t.Fatal(err)
	}
	var err error
	if x.here, err = x.na.Connect(soon(t), x.peerOf()); err != nil {
		t.Fatal(err)
	}
	x.there = get(t, x.pb.connected, "OnConnect of b")
	get(t, x.pa.connected, "OnConnect of a")
	return x
}

// peerOf returns b's addresses, the preferred one first.
func (x *crossing) peerOf() identity.PeerAddress {
	return identity.PeerAddress{ID: x.nb.Self(), Addresses: []identity.Address{{Scheme: "first", Host: "b:1"}, x.nb.addr}}
}

// block lets nothing through on the first network, or heals it.
func (x *crossing) block(yes bool) {
	x.blocked = yes
	if yes {
		x.first.Stall(x.na.Self(), x.nb.Self())
		return
	}
	x.first.Heal(x.na.Self(), x.nb.Self())
}

// where returns on which network the link is, at both ends.
func (x *crossing) where() [2]string {
	x.t.Helper()
	var at [2]string
	for i, n := range []*host{x.na, x.nb} {
		conns := n.State().Conns
		if len(conns) != 1 {
			x.t.Fatalf("%d connections", len(conns))
		}
		switch side := conns[0]; {
		case i == 0 && side.Remote.Host == "b:1", i == 1 && side.Local.Host == "b:1":
			at[i] = "first"
		default:
			at[i] = "second"
		}
	}
	return at
}

// on checks where the link is, and how often it has moved.
func (x *crossing) on(when, want string, moves uint64) {
	x.t.Helper()
	synctest.Wait()
	if got := x.where(); got != [2]string{want, want} {
		x.t.Errorf("%s: the link is on %v, want the %s", when, got, want)
	}
	for _, n := range []*host{x.na, x.nb} {
		if s := n.State().Conns[0]; s.Renewals != moves || n.count("conns_renewed") != moves {
			x.t.Errorf("%s: %d renewals, %d conns_renewed; want %d", when, s.Renewals, n.count("conns_renewed"), moves)
		}
	}
}

// talk has both ends send for a time.
func (x *crossing) talk(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		x.pa.send(x.here.ID, 5)
		x.pb.send(x.there.ID, 5)
	}
}

// arrived checks that all that was sent has come, over one connection.
func (x *crossing) arrived() {
	x.t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	if x.pa.got != x.pb.next || x.pb.got != x.pa.next || x.pa.next == 0 {
		x.t.Errorf("a got %d of %d messages, b %d of %d", x.pa.got, x.pb.next, x.pb.got, x.pa.next)
	}
	if n := len(x.pa.lost) + len(x.pb.lost) + len(x.pa.connected) + len(x.pb.connected); n != 0 {
		x.t.Errorf("%d OnDisconnect and OnConnect more, want none", n)
	}
}

// A link makes way where its preferred address is blocked, and moves back when
// that works again: without loss, in its time, and with little effort.
func TestG11MovesBack(t *testing.T) {
	for _, swap := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			x := newCrossing(t, swap)
			x.talk(time.Second)
			x.on("at first", "first", 0)
			time.Sleep(20 * time.Minute)
			if n := x.dials[0].Load(); n != 1 {
				t.Errorf("while it was in use the best address was dialled %d times, want once", n)
			}
			x.block(true)
			x.talk(3 * time.Second)
			x.on("3 s after it was blocked", "second", 1)
			x.talk(30 * time.Second)
			time.Sleep(30 * time.Minute)
			x.on("blocked for long", "second", 1)
			if n := x.dials[0].Load(); n < 20 || n > 40 {
				t.Errorf("in half an hour the blocked address was dialled %d times, want about every 75 s", n)
			}
			x.block(false)
			x.talk(80 * time.Second) // a dial that hangs takes 10 s, and up to a minute passes until the next
			x.on("it works again", "first", 2)
			n := x.dials[0].Load()
			time.Sleep(20 * time.Minute)
			x.on("it works for long", "first", 2)
			if more := x.dials[0].Load() - n; more != 0 {
				t.Errorf("the best address was dialled %d times more while it was in use", more)
			}
			if x.dials[1].Load() != 0 {
				t.Error("the end that was dialled has dialled")
			}
			x.arrived()
		})
	}
}

// Moves back and forth under traffic, and connections that break in the middle of
// them, lose, repeat and reorder nothing.
func TestG11MovesUnderTraffic(t *testing.T) {
	for seed := range uint64(4) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 5))
			x := newCrossing(t, seed%2 == 1, limits(func(l *network.Limits) {
				l.DialBackoff, l.DialBackoffMax = time.Millisecond, 50*time.Millisecond
				l.DialTime = 300 * time.Millisecond
			}))
			for range 40 {
				x.block(!x.blocked)
				x.pa.send(x.here.ID, random.IntN(300))
				x.pb.send(x.there.ID, random.IntN(300))
				x.talk(time.Duration(random.IntN(int(7 * time.Second))))
				if random.IntN(4) == 0 {
					x.cut(x.na, x.nb)
				}
			}
			x.block(false)
			x.arrived()
			if got := x.where(); got != [2]string{"first", "first"} {
				t.Errorf("seed %d: the link is on %v in the end, want the first", seed, got)
			}
			if n := x.na.State().Conns[0].Renewals; n < 10 {
				t.Errorf("seed %d: it has moved %d times", seed, n)
			}
		})
	}
}

// An address on which connections open, and then fall silent, is tried less and
// less.
func TestG11MovesLessAndLess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newCrossing(t, false)
		began, last := time.Now(), time.Duration(0)
		for round := range 5 {
			x.block(true)
			x.talk(4 * time.Second)
			x.block(false)
			away := time.Now()
			for x.where()[0] != "first" {
				time.Sleep(100 * time.Millisecond)
			}
			took := time.Since(away)
			if least := min(last*3/2, 40*time.Second); took < least || took > 70*time.Second {
				t.Errorf("round %d: it moved back after %v, the last time after %v", round, took, last)
			}
			last = took
		}
		if took := time.Since(began); took > 5*time.Minute {
			t.Errorf("five rounds took %v", took)
		}
		time.Sleep(2 * time.Minute) // now it has lasted
		x.block(true)
		x.talk(4 * time.Second)
		x.block(false)
		x.talk(9 * time.Second)
		x.on("after a while on the best address", "first", 12)
		x.arrived()
	})
}

// While a node stops, and when a connection has ended, nothing is dialled.
func TestG11NoMovesAtTheEnd(t *testing.T) {
	for _, stop := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			x := newCrossing(t, false)
			x.block(true)
			x.talk(4 * time.Second)
			x.on("blocked", "second", 1)
			time.Sleep(5 * time.Minute)
			if stop {
				x.na.close()
			} else if err := x.pa.a.Close(x.here.ID, nil); err != nil {
				t.Fatal(err)
			}
			get(t, x.pa.lost, "OnDisconnect of a")
			get(t, x.pb.lost, "OnDisconnect of b")
			n := x.dials[0].Load()
			x.block(false)
			time.Sleep(20 * time.Minute)
			if more := x.dials[0].Load() - n; more != 0 {
				t.Errorf("stopped: %t: %d dials more", stop, more)
			}
		})
	}
}

// Add tells a connected node a better address: the link moves there. One that is
// worse is left alone.
func TestG11AddsBetterAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newCrossing(t, false)
		x.block(true)
		x.talk(4 * time.Second)
		x.block(false)
		if err := x.na.Add(x.nb.peer()); err != nil { // mem:// alone
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		x.on("with one address", "second", 1)
		if err := x.na.Add(x.peerOf()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		x.on("with a better one", "first", 2)
		if err := x.na.Add(x.nb.peer()); err != nil { // where it is, it may no longer be
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		x.on("without the one in use", "second", 3)
		x.talk(time.Second)
		x.arrived()
	})
}

// A connection that is dialled to move to, while the other end says goodbye, disturbs
// neither: what was sent before the goodbye arrives, and then the cause.
func TestG11MoveMeetsGoodbye(t *testing.T) {
	for _, swap := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			var x *crossing
			var armed atomic.Bool
			x = newWrappedCrossing(t, swap, func(c conn.Conn) conn.Conn {
				if armed.CompareAndSwap(true, false) { // a dials
					x.net.Stall(x.na.Self(), x.nb.Self())
					x.pb.send(x.there.ID, 10)
					if err := x.pb.a.Close(x.there.ID, nil); err != nil {
						t.Error(err)
					}
				}
				return c
			})
			x.block(true)
			x.talk(4 * time.Second)
			x.on("blocked", "second", 1)
			armed.Store(true)
			x.block(false)
			for armed.Load() {
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
			x.net.Heal(x.na.Self(), x.nb.Self())
			wantCode(t, get(t, x.pa.lost, "OnDisconnect of a"), conn.CodeClosed)
			if err := get(t, x.pb.lost, "OnDisconnect of b"); !errors.Is(err, conn.ErrClosed) {
				t.Errorf("b was told %v", err)
			}
			synctest.Wait()
			if x.pa.got != x.pb.next {
				t.Errorf("a got %d of %d messages", x.pa.got, x.pb.next)
			}
		})
	}
}
