package hub_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// A mesh is hubs that all know each other.
type mesh struct {
	net  *mem.Network
	keys []identity.PrivateKey
	hubs []*hub.Hub
	at   map[identity.NodeID]int
}

func newMesh(t testing.TB, n int, cfg hub.Config) *mesh {
	m := &mesh{net: mem.NewNetwork(), at: map[identity.NodeID]int{}}
	addr := func(i int) identity.Address { return address(t, fmt.Sprint("mem://", i)) }
	for i := range n {
		k := key(t, byte(i+1))
		m.keys = append(m.keys, k)
		m.at[k.ID()] = i
		cfg.Key, cfg.Transports, cfg.Listen = k, []conn.Transport{m.net.Transport()}, []identity.Address{addr(i)}
		m.hubs = append(m.hubs, start(t, cfg))
	}
	for i, h := range m.hubs {
		for j, k := range m.keys {
			if i != j {
				if _, err := h.Add(at(k, addr(j))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return m
}

// Five hubs broadcast all the time while connections are cut and stalled at
// random: each gets every message of each other exactly once, in order.
func TestMeshUnderCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, each = 5, 2000
		m := newMesh(t, n, hub.Config{Backoff: hub.Uniform{Min: time.Millisecond, Max: 50 * time.Millisecond}})
		done := make(chan error, 2*n)
		for i, h := range m.hubs {
			go func() {
				for number := range uint64(each) {
					if err := h.Broadcast(t.Context(), binary.BigEndian.AppendUint64(nil, number)); err != nil {
						done <- fmt.Errorf("hub %d sends: %w", i, err)
						return
					}
					time.Sleep(time.Millisecond)
				}
				done <- nil
			}()
			go func() { done <- receiveAll(t.Context(), h, m.at, n-1, each) }()
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for range 400 {
			time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
			a, b := m.keys[rng.IntN(n)].ID(), m.keys[rng.IntN(n)].ID()
			if a == b {
				continue
			}
			m.net.Stall(a, b) // from now on, what is sent stays under way
			if rng.IntN(20) == 0 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			} else {
				time.Sleep(time.Duration(1+rng.IntN(3)) * time.Millisecond)
				m.net.Cut(a, b)
			}
			time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
			m.net.Heal(a, b)
		}
		for range 2 * n {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		var s endpoint.Stats
		for _, h := range m.hubs {
			for _, p := range h.Peers() {
				one := p.Endpoint.Stats()
				s.Resent += one.Resent
				s.Connections += one.Connections
			}
		}
		if s.Resent < 200 || s.Connections < 200 {
			t.Errorf("%d connections, %d messages sent again: the test does not bite", s.Connections, s.Resent)
		}
		for _, h := range m.hubs {
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// receiveAll receives the numbers from 0 on of each of some others.
func receiveAll(ctx context.Context, h *hub.Hub, at map[identity.NodeID]int, others int, each uint64) error {
	next := make([]uint64, len(at))
	for range uint64(others) * each {
		from, p, err := h.Recv(ctx)
		if err != nil {
			return err
		}
		if got, want := binary.BigEndian.Uint64(p), next[at[from]]; got != want {
			return fmt.Errorf("hub %d received %d of %d, want %d", at[h.Self()], got, at[from], want)
		}
		next[at[from]]++
	}
	return nil
}

// One that sends much leaves room for one that sends little.
func TestMembersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3, hub.Config{})
		defer stop(m.hubs...)
		time.Sleep(time.Second)
		for range 5000 {
			if err := m.hubs[1].Send(t.Context(), m.keys[0].ID(), []byte("much")); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for range 40 {
			m.hubs[2].Send(t.Context(), m.keys[0].ID(), []byte("little"))
		}
		synctest.Wait()
		in := 0
		for n := 1; in < 40; n++ {
			from, _, err := m.hubs[0].Recv(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if from == m.keys[2].ID() {
				in++
			}
			if n > 4*40 {
				t.Fatalf("among %d messages, %d were of the one that sends little", n, in)
			}
		}
	})
}

// A member that takes nothing holds up its own senders, and nobody else.
func TestSlowPeerDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3, hub.Config{Endpoint: endpoint.Config{Buffer: 1 << 20, MaxMessage: 1 << 16, Window: 1 << 16}})
		defer stop(m.hubs...)
		slow, quick := m.keys[1].ID(), m.keys[2].ID()
		p := make([]byte, 1<<14)
		full := 0
		time.Sleep(time.Second)
		for i := range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := m.hubs[0].Broadcast(ctx, p)
			cancel()
			var be *hub.BroadcastError
			switch {
			case errors.As(err, &be) && len(be.Errs) == 1 && errors.Is(be.Errs[slow], context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded):
				full++
			case err != nil:
				t.Fatalf("broadcast %d: %v", i, err)
			}
			began := time.Now()
			if from, _, err := m.hubs[2].Recv(t.Context()); err != nil || from != m.keys[0].ID() || time.Since(began) != 0 {
				t.Fatalf("broadcast %d: the quick one received after %v: %v", i, time.Since(began), err)
			}
		}
		if full < 100 {
			t.Errorf("the slow one was full %d times of 200", full)
		}
		if s := peerOf(t, m.hubs[1], m.keys[0].ID()).Endpoint.Stats(); s.Untaken > 1<<16/(1<<14)+1 {
			t.Errorf("the slow one holds %d messages beyond its window", s.Untaken)
		}
		if err := m.hubs[0].TryBroadcast(p); !errors.Is(err, endpoint.ErrFull) {
			t.Errorf("TryBroadcast = %v", err)
		}
		if err := m.hubs[0].TryBroadcast(p, quick); err != nil {
			t.Errorf("TryBroadcast to the quick one = %v", err)
		}
	})
}

// A large message gets its turn among many small ones: those who send to a member
// that is slow are served in the order in which they came.
func TestLargeMessagesGetTheirTurn(t *testing.T) {
	for name, send := range map[string]func(c *couple, p []byte) error{
		"Send":      func(c *couple, p []byte) error { return c.hubs[0].Send(c.t.Context(), c.id(1), p) },
		"Broadcast": func(c *couple, p []byte) error { return c.hubs[0].Broadcast(c.t.Context(), p) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const small, large, senders = 1 << 10, 32 << 10, 20
				cfg := hub.Config{Endpoint: endpoint.Config{Buffer: 2 * large, MaxMessage: large}}
				c := newCouple(t, cfg, cfg)
				defer c.stop()
				c.add(0, names[1])
				c.add(1)
				for range senders {
					go func() {
						for c.hubs[0].Send(t.Context(), c.id(1), make([]byte, small)) == nil {
						}
					}()
				}
				time.Sleep(time.Second) // the buffer is full
				sent := make(chan error, 1)
				go func() { sent <- send(c, make([]byte, large)) }()
				synctest.Wait()
				for n := 1; ; n++ {
					_, p, err := c.hubs[1].Recv(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if len(p) == large {
						break
					}
					if n == 2*large/small+2*senders {
						t.Fatalf("%d small messages have come, and not the large one", n)
					}
					time.Sleep(time.Millisecond)
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func peerOf(t testing.TB, h *hub.Hub, id identity.NodeID) hub.Peer {
	t.Helper()
	p, ok := h.Peer(id)
	if !ok {
		t.Fatal("not a member")
	}
	return p
}

func TestBroadcastTellsWhoDidNotGetIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3, hub.Config{Endpoint: endpoint.Config{MaxMessage: 100}})
		defer stop(m.hubs...)
		stranger := key(t, 99).ID()
		err := m.hubs[0].Broadcast(t.Context(), []byte("x"), m.keys[1].ID(), stranger)
		var be *hub.BroadcastError
		if !errors.As(err, &be) || len(be.Errs) != 1 || !errors.Is(be.Errs[stranger], hub.ErrNotMember) || !strings.Contains(err.Error(), stranger.Short()) {
			t.Errorf("Broadcast = %v", err)
		}
		if from, p, err := m.hubs[1].Recv(t.Context()); from != m.keys[0].ID() || string(p) != "x" || err != nil {
			t.Errorf("Recv = %q of %v, %v", p, from, err)
		}
		if err := m.hubs[0].Broadcast(t.Context(), make([]byte, 101)); !errors.As(err, &be) || len(be.Errs) != 2 || !errors.Is(err, endpoint.ErrTooLarge) {
			t.Errorf("Broadcast of too much = %v", err)
		}
	})
}

// Datagrams arrive; a callback that panics costs no more than one.
func TestDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan string, 1)
		c := newCouple(t, hub.Config{}, hub.Config{OnDatagram: func(from identity.NodeID, p []byte) {
			got <- from.String() + string(p)
			if string(p) == "panic" {
				panic("in OnDatagram")
			}
		}})
		defer c.stop()
		c.add(0, names[1])
		c.add(1)
		time.Sleep(time.Second)
		for _, text := range []string{"x", "panic", "y"} {
			if err := c.peer(0).Endpoint.SendDatagram([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if s := <-got; s != c.id(0).String()+text {
				t.Errorf("got %q", s)
			}
		}
		c.send(0, "z")
		c.recv(1, "z")
		if s := c.peer(1).Endpoint.Stats(); s.Connections != 1 {
			t.Errorf("%d connections, want 1", s.Connections)
		}
	})
}
