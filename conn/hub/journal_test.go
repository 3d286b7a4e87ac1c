//go:build unix || windows

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/journal"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// A family is a couple whose hubs may be made again.
type family struct {
	*couple
	configs [2]hub.Config
}

// newFamily makes a couple of which some nodes have a journal.
func newFamily(t *testing.T, journaled ...int) *family {
	f := &family{couple: &couple{t: t, net: mem.NewNetwork(), keys: pair(t)}}
	for _, i := range journaled {
		s, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Config{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		f.configs[i].Journal = s.For
	}
	f.again(0, 1)
	return f
}

// again ends the hubs of nodes without a word, and makes them again.
func (f *family) again(nodes ...int) {
	f.t.Helper()
	for _, i := range nodes {
		if f.hubs[i] != nil {
			stop(f.hubs[i])
		}
	}
	for _, i := range nodes {
		f.start(i, f.configs[i])
		f.add(i, names[1-i])
	}
}

// nothing fails if there is something to be received within a second.
func (c *couple) nothing(i int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	if from, p, err := c.hubs[i].Recv(ctx); !errors.Is(err, context.DeadlineExceeded) {
		c.t.Errorf("hub %d received %q of %v, %v; want nothing", i, p, from.Short(), err)
	}
}

// unbroken checks that neither has seen the other start anew.
func (c *couple) unbroken() {
	c.t.Helper()
	for i := range c.hubs {
		if s := c.peer(i).Endpoint.Stats(); s.Restarts != 0 || s.Unknown != 0 {
			c.t.Errorf("hub %d saw a restart: %+v", i, s)
		}
	}
}

// A hub that is closed and made again with the same journals is the same to its
// members: what was sent arrives, what was taken does not come again, and what was
// not does, in order.
func TestJournalOutlivesTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily(t, 0, 1)
		defer f.stop()
		f.send(0, "1")
		f.send(0, "2")
		f.send(0, "3")
		f.recv(1, "1")
		f.recv(1, "2") // 1 is done with, 2 is in hand
		time.Sleep(time.Second)
		f.unbroken()
		f.again(1)
		f.recv(1, "2")
		f.recv(1, "3")
		f.nothing(1)
		f.unbroken()
		stop(f.hubs[0])
		f.send(1, "a")
		f.again(0)
		f.send(0, "4")
		f.recv(0, "a")
		f.unbroken()
		f.nothing(0)
		f.send(0, "5")
		f.again(0, 1)
		f.recv(1, "4")
		f.recv(1, "5")
		f.nothing(1)
		f.nothing(0)
		f.again(1)
		f.again(0)
		f.nothing(1)
		f.nothing(0)
		f.unbroken()
	})
}

// That a member which has no journal started anew is told until Recv is called
// again: by a later hub, if need be.
func TestRestartIsToldByTheNextHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily(t, 0)
		defer f.stop()
		f.send(0, "1")
		time.Sleep(time.Second) // it has come, and nobody takes it
		f.again(1)
		time.Sleep(time.Second)
		for range 2 {
			f.again(0)
			var restart *endpoint.RestartError
			if from, _, err := f.hubs[0].Recv(t.Context()); from != f.id(1) || !errors.As(err, &restart) || fmt.Sprintf("%s", restart.Unknown) != "[1]" {
				t.Errorf("Recv = %v, want a restart with 1", err)
			}
		}
		f.send(0, "2")
		f.recv(1, "2")
		f.nothing(0)
		f.again(0)
		f.nothing(0)
		f.unbroken()
	})
}

// Recv says of a message that it was dealt with when it is called again, whoever
// the next message is of.
func TestRecvTellsWhatWasDealtWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Config{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m := newMesh(t, 3, hub.Config{})
		stop(m.hubs[0])
		m.hubs[0] = start(t, hub.Config{Key: m.keys[0], Transports: []conn.Transport{m.net.Transport()}, Journal: s.For})
		defer stop(m.hubs...)
		for i := range 2 {
			if _, err := m.hubs[0].Add(at(m.keys[i+1], address(t, fmt.Sprint("mem://", i+1)))); err != nil {
				t.Fatal(err)
			}
		}
		for range hub.Turn {
			for _, h := range m.hubs[1:] {
				if err := h.Send(t.Context(), m.keys[0].ID(), []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second)
		var first identity.NodeID
		waiting := func(when string, want int) {
			t.Helper()
			time.Sleep(time.Second)
			if n := peerOf(t, m.hubs[m.at[first]], m.keys[0].ID()).Endpoint.Stats().Waiting; n != want {
				t.Errorf("%s %d messages of the first member wait, want %d", when, n, want)
			}
		}
		for i := range 2 * hub.Turn {
			from, _, err := m.hubs[0].Recv(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = from
			} else if (from == first) != (i < hub.Turn) {
				t.Fatalf("message %d is of %v", i, from)
			}
			switch i {
			case hub.Turn - 1:
				waiting("after its turn", 1)
			case hub.Turn:
				waiting("when the other has its turn", 0)
			}
		}
	})
}

// A member that was removed and is added again goes on where it was.
func TestRemovedMemberGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily(t, 1)
		defer f.stop()
		f.send(0, "1")
		time.Sleep(time.Second)
		if err := f.hubs[1].Remove(f.id(0)); err != nil {
			t.Fatal(err)
		}
		f.send(0, "2")
		time.Sleep(time.Minute)
		f.add(1)
		f.recv(1, "1")
		f.recv(1, "2")
		f.nothing(0)
		f.unbroken()
	})
}

// A bound is a journal that waits, or fails, when it is loaded.
type bound struct {
	endpoint.Journal
	load func() error
}

func (b bound) Load() ([]byte, [][]byte, error) { return nil, nil, b.load() }
func (b bound) Save(endpoint.Change) error      { return nil }

// A journal that fails, panics or takes its time concerns the member alone.
func TestJournalsThatDoNotWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var load func() error
		cfg := hub.Config{Key: key(t, 1), Transports: []conn.Transport{mem.NewNetwork().Transport()}, Journal: func(peer identity.NodeID) endpoint.Journal {
			if peer == key(t, 3).ID() {
				panic("in Journal")
			}
			return bound{load: func() error { return load() }}
		}}
		h := start(t, cfg)
		defer stop(h)
		peer := at(key(t, 2))
		load = func() error { return errors.New("disk on fire") }
		for p, want := range map[*identity.PeerAddress]string{&peer: "disk on fire", {ID: key(t, 3).ID()}: "Config.Journal panicked"} {
			if _, err := h.Add(*p); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Add = %v, want an error with %q", err, want)
			}
		}
		if len(h.Peers()) != 0 {
			t.Error("there are members")
		}
		slow, added := make(chan struct{}), make(chan error, 2)
		loads := 0
		load = func() error { loads++; <-slow; return nil }
		for range 2 {
			go func() { _, err := h.Add(peer); added <- err }()
		}
		synctest.Wait()
		if err := h.Remove(key(t, 4).ID()); !errors.Is(err, hub.ErrNotMember) || len(h.Addrs()) != 0 || len(added) > 0 {
			t.Errorf("while a journal is read: Remove = %v, %d calls of Add have returned", err, len(added))
		}
		close(slow)
		if err := errors.Join(<-added, <-added); err != nil || loads != 1 || len(h.Peers()) != 1 {
			t.Errorf("Add twice = %v; the journal was loaded %d times; %d members", err, loads, len(h.Peers()))
		}
		slow = make(chan struct{})
		go func() { _, err := h.Add(at(key(t, 5))); added <- err }()
		synctest.Wait()
		if err := h.Close(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
		close(slow)
		if err := <-added; !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Add while the hub is closed = %v", err)
		}
	})
}
