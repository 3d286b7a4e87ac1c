package network_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// durableBench returns a bench whose nodes have durable connections.
func durableBench(t testing.TB) *bench {
	b := newBench(t)
	b.durable = true
	return b
}

// cut breaks the connections between two nodes.
func (b *bench) cut(x, y *host) {
	b.net.Cut(x.Self(), y.Self())
	b.net.Heal(x.Self(), y.Self())
}

// A counter sends numbers to the other end of a connection, and checks those
// that come.
type counter struct {
	*probe
	t    *testing.T
	next uint64
	got  uint64

	loose []uint64 // those of kind 2 that have come, in any order
}

func newCounter(t *testing.T) *counter {
	c := &counter{probe: newProbe(), t: t}
	c.onMessage = func(_ *agent.Behavior, m *conn.Message) {
		n := binary.BigEndian.Uint64(m.Payload)
		if m.Kind == 2 {
			c.loose = append(c.loose, n)
			return
		}
		if n != c.got {
			t.Errorf("message %d came, want %d", n, c.got)
		}
		c.got++
	}
	return c
}

// send sends as many messages as the window takes, at most n.
func (c *counter) send(to identity.ConnID, n int) {
	for range n {
		err := c.a.Send(router.ToConn(to), 1, binary.BigEndian.AppendUint64(make([]byte, 0, 300), c.next)[:8+c.next%200])
		if errors.Is(err, agent.ErrQueueFull) {
			return
		}
		if err != nil {
			c.t.Error(err)
			return
		}
		c.next++
	}
}

// Messages arrive exactly once and in order through any number of broken
// connections, and the behaviours see one.
func TestG11MessagesOutliveConnections(t *testing.T) {
	for _, swap := range []bool{false, true} {
		for seed := range uint64(5) {
			bubble(t, func(t *testing.T) {
				b := durableBench(t)
				x, y := byte(1), byte(2)
				if swap {
					x, y = y, x
				}
				pa, pb := newCounter(t), newCounter(t)
				na, nb := b.with(x, pa.probe), b.with(y, pb.probe)
				c := connect(t, na, nb)
				back := get(t, pb.connected, "OnConnect of b")
				random := rand.New(rand.NewPCG(seed, 7))
				for range 60 {
					pa.send(c.ID, random.IntN(300))
					pb.send(back.ID, random.IntN(300))
					for range random.IntN(30) {
						time.Sleep(time.Microsecond)
					}
					b.cut(na, nb)
					if random.IntN(3) > 0 {
						time.Sleep(time.Duration(random.IntN(int(time.Second))))
					}
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if pa.got != pb.next || pb.got != pa.next || pa.next < 1000 {
					t.Errorf("a got %d of %d messages, b %d of %d", pa.got, pb.next, pb.got, pa.next)
				}
				if len(pa.lost) != 0 || len(pb.lost) != 0 || len(pb.connected) != 0 {
					t.Errorf("%d and %d OnDisconnect, %d OnConnect more", len(pa.lost), len(pb.lost), len(pb.connected))
				}
				if s := na.State().Conns[0]; s.ID != c.ID || s.Renewals < 10 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// Both nodes dial each other at the same moment while connections break, again
// and again, in the middle of handshakes too.
func TestG11ThroughBrokenHandshakes(t *testing.T) {
	for seed := range uint64(30) {
		bubble(t, func(t *testing.T) {
			b := durableBench(t)
			pa, pb := newCounter(t), newCounter(t)
			for _, p := range []*counter{pa, pb} {
				p.onConnect = func(a *agent.Behavior, c conn.Info) behavior.Handler {
					p.send(c.ID, 5)
					return nil
				}
			}
			na, nb := b.with(1, pa.probe), b.with(2, pb.probe)
			if err := errors.Join(na.Add(nb.peer()), nb.Add(na.peer())); err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(seed, 3))
			for range 40 {
				for range random.IntN(8) {
					time.Sleep(time.Microsecond)
				}
				b.cut(na, nb)
				time.Sleep(time.Duration(random.IntN(int(700 * time.Millisecond))))
			}
			time.Sleep(20 * time.Second)
			synctest.Wait()
			if len(pa.connected) != 1 || len(pb.connected) != 1 || len(pa.lost) != 0 || len(pb.lost) != 0 {
				t.Errorf("seed %d: %d and %d OnConnect, %d and %d OnDisconnect", seed, len(pa.connected), len(pb.connected), len(pa.lost), len(pb.lost))
			}
			if pa.got != pb.next || pb.got != pa.next {
				t.Errorf("seed %d: a got %d of %d messages, b %d of %d", seed, pa.got, pb.next, pb.got, pa.next)
			}
		})
	}
}

// numbersOf returns the numbers of the messages that are not known to have
// arrived.
func numbersOf(t *testing.T, cause error) (numbers []uint64) {
	t.Helper()
	var ce *conn.CloseError
	if !errors.As(cause, &ce) {
		t.Fatalf("the cause is %v", cause)
	}
	for _, m := range ce.Unacknowledged {
		if m.Service != service || m.FromService != service || m.Kind != 1 {
			t.Errorf("%+v", m)
		}
		numbers = append(numbers, binary.BigEndian.Uint64(m.Payload))
	}
	return numbers
}

// When no other connection can be made, or the peer has started anew, the sender
// is told which messages are not known to have arrived.
func TestG11UnknownFates(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := durableBench(t)
				pa, pb := newCounter(t), newCounter(t)
				na, nb := b.with(1, pa.probe), b.with(2, pb.probe)
				c := connect(t, na, nb)
				pa.send(c.ID, 10)
				time.Sleep(time.Second) // they have arrived, and a knows it
				b.net.Stall(na.Self(), nb.Self())
				pa.send(c.ID, 3)
				time.Sleep(10 * time.Second) // the connection has been given up
				b.net.Cut(na.Self(), nb.Self())
				pa.send(c.ID, 2)
				synctest.Wait()
				if restart { // the former life of b is still there, but its address is taken
					b.net.Heal(na.Self(), nb.Self())
					h := b.host(2)
					if err := h.Register(service, newProbe()); err != nil {
						t.Fatal(err)
					}
					connect(t, h.run("mem://reborn"), na)
				} else {
					time.Sleep(31 * time.Second)
				}
				cause := get(t, pa.lost, "OnDisconnect of a")
				if got := numbersOf(t, cause); fmt.Sprint(got) != "[10 11 12 13 14]" {
					t.Errorf("not known to have arrived: %v", got)
				}
				if pb.got != 10 {
					t.Errorf("b got %d messages, want 10", pb.got)
				}
			})
		})
	}
}

// A connection that is closed while it is on no connection ends, at both ends.
func TestG11ClosedWhileBroken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := durableBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa), b.with(2, pb)
		c := connect(t, na, nb)
		get(t, pb.connected, "OnConnect of b")
		b.net.Cut(na.Self(), nb.Self())
		synctest.Wait()
		if err := pa.a.Close(c.ID, nil); err != nil {
			t.Fatal(err)
		}
		get(t, pa.lost, "OnDisconnect of a")
		b.net.Heal(na.Self(), nb.Self())
		fresh := connect(t, na, nb)
		get(t, pb.lost, "OnDisconnect of b")
		if again := get(t, pb.connected, "OnConnect of b"); again.ID != 2 || fresh.ID != 2 {
			t.Errorf("connections %d and %d are open", fresh.ID, again.ID)
		}
	})
}

// A node that is not durable and one that is have a plain connection.
func TestG11OneEndIsPlain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa, func(c *network.Config) { c.Durable = true }), b.with(2, pb)
		c := connect(t, na, nb)
		if err := pa.a.Send(router.ToConn(c.ID), 1, []byte("x")); err != nil {
			t.Fatal(err)
		}
		get(t, pb.received, "a message")
		b.cut(na, nb)
		get(t, pa.lost, "OnDisconnect of a")
		get(t, pb.lost, "OnDisconnect of b")
	})
}

// Many senders at once, over a connection that breaks all the time.
func TestG11Concurrent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := durableBench(t)
		pa, pb := newProbe(), newProbe()
		next := map[byte]byte{}
		total := 0
		pb.onMessage = func(_ *agent.Behavior, m *conn.Message) {
			if from := m.Payload[0]; m.Payload[1] != next[from] {
				t.Errorf("of sender %d came %d, want %d", from, m.Payload[1], next[from])
			}
			next[m.Payload[0]]++
			total++
		}
		na, nb := b.with(1, pa), b.with(2, pb)
		c := connect(t, na, nb)
		var group sync.WaitGroup
		for s := range byte(8) {
			group.Go(func() {
				for i := range byte(250) {
					if err := pa.a.SendWait(t.Context(), router.ToConn(c.ID), 1, []byte{s, i}); err != nil {
						t.Error(err)
						return
					}
					if i%10 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		for range 25 {
			time.Sleep(time.Millisecond)
			b.cut(na, nb)
		}
		group.Wait()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if total != 8*250 {
			t.Errorf("%d messages came, want %d", total, 8*250)
		}
	})
}

// A node that was dialled, and so knows no address of the other, renews the
// connection as soon as somebody tells it one.
func TestG11RenewedByTheOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := durableBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa), b.with(2, pb)
		c := connect(t, na, nb)
		get(t, pb.connected, "OnConnect of b")
		b.net.Cut(na.Self(), nb.Self())
		time.Sleep(10*time.Second + 123*time.Microsecond) // a dials only now and then by now
		b.net.Heal(na.Self(), nb.Self())
		if info := connect(t, nb, na); info.ID != 1 {
			t.Errorf("connection %d was opened", info.ID)
		}
		synctest.Wait() // no time passes
		if s := na.State().Conns[0]; s.ID != c.ID || s.Renewals != 1 || na.count("conns_renewed") != 1 {
			t.Errorf("%+v, %d renewed", s, na.count("conns_renewed"))
		}
	})
}

// Connections that break as soon as they are there do not keep a node busy: it
// waits longer and longer, as long as nothing gets through.
func TestG11FlappingRoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := durableBench(t)
		pa, pb := newCounter(t), newCounter(t)
		na, nb := b.with(1, pa.probe), b.with(2, pb.probe)
		c := connect(t, na, nb)
		get(t, pb.connected, "OnConnect of b")
		for range 30_000 {
			time.Sleep(time.Millisecond)
			b.cut(na, nb)
		}
		if n := na.count("conns_renewed"); n < 5 || n > 30 {
			t.Errorf("renewed %d times in 30 s, want a few times", n)
		}
		time.Sleep(10 * time.Second)
		before := na.count("conns_renewed")
		for range 1000 {
			pa.send(c.ID, 1)
			time.Sleep(50 * time.Millisecond) // it gets through
			b.cut(na, nb)
			time.Sleep(50 * time.Millisecond)
		}
		// Some dials meet the cut, between its begin and its end, and wait.
		if n := na.count("conns_renewed") - before; n < 900 {
			t.Errorf("renewed %d times within 50 ms after 1000 messages that got through, want always", n)
		}
		time.Sleep(5 * time.Second)
		if synctest.Wait(); pb.got != 1000 || pa.next != 1000 {
			t.Errorf("%d of %d messages came, want 1000", pb.got, pa.next)
		}
		if s := na.State(); len(s.Conns) != 1 || s.Conns[0].ID != c.ID {
			t.Errorf("%+v, want the link that there was", s.Conns)
		}
	})
}
