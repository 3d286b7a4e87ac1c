package hub_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

// Close waits until what was sent is taken, and members learn why the connection
// ends; they go on.
func TestCloseDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := make(chan error, 1)
		c := newCouple(t, hub.Config{}, hub.Config{OnDisconnect: func(_ identity.NodeID, err error) { lost <- err }})
		defer c.stop()
		c.add(0, names[1])
		c.add(1)
		time.Sleep(time.Second)
		c.send(0, "x")
		began := time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			c.recv(1, "x")
		}()
		if err := c.hubs[0].Close(t.Context()); err != nil || time.Since(began) < 3*time.Second || time.Since(began) > 4*time.Second {
			t.Errorf("Close = %v after %v", err, time.Since(began))
		}
		if err := <-lost; !errors.Is(err, conn.CodeShutdown) {
			t.Errorf("OnDisconnect of the other: %v", err)
		}
		if err := c.hubs[0].Send(t.Context(), c.id(1), nil); !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Send after Close = %v", err)
		}
		if err := c.hubs[0].Broadcast(t.Context(), nil, c.id(1)); !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Broadcast after Close = %v", err)
		}
		if from, _, err := c.hubs[0].Recv(t.Context()); !errors.Is(err, conn.ErrClosed) || !from.IsZero() {
			t.Errorf("Recv after Close = %v", err)
		}
		if _, err := c.hubs[0].Add(at(c.keys[1])); !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Add after Close = %v", err)
		}
		if err := c.hubs[0].Start(t.Context()); !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Start after Close = %v", err)
		}
		if err := c.hubs[0].Close(t.Context()); err != nil {
			t.Errorf("Close, again = %v", err)
		}
		if cause := c.peer(1).Endpoint.Cause(); cause != nil {
			t.Errorf("the endpoint of the other has ended: %v", cause)
		}
	})
}

// A member that takes nothing, or is not there, holds Close up for its time only.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t, hub.Config{DrainTime: 2 * time.Second})
		c.add(0, names[1])
		c.add(1)
		if _, err := c.hubs[0].Add(at(key(t, 9), address(t, "mem://nowhere"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := c.hubs[0].Broadcast(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		receiving := make(chan error)
		go func() {
			_, _, err := c.hubs[0].Recv(t.Context())
			receiving <- err
		}()
		second := make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			second <- c.hubs[0].Close(t.Context())
		}()
		err := c.hubs[0].Close(context.Background())
		if err == nil || time.Since(began) != 2*time.Second {
			t.Errorf("Close = %v after %v, want an error after 2 s", err, time.Since(began))
		}
		for range 2 {
			if again := <-second; again != err {
				t.Errorf("Close, again = %v, the first has returned %v", again, err)
			}
			second <- c.hubs[0].Close(t.Context())
		}
		if err := <-receiving; !errors.Is(err, conn.ErrClosed) {
			t.Errorf("Recv = %v", err)
		}
		c.send(1, "x")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := c.hubs[1].Close(ctx); err == nil || time.Since(began) != 0 {
			t.Errorf("Close with a member that is gone = %v after %v, want an error at once", err, time.Since(began))
		}
	})
}

// All close at once, right after the last messages: who has taken them says so,
// and nobody waits for a member that closes.
func TestCloseTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 4, hub.Config{})
		time.Sleep(time.Second)
		for _, h := range m.hubs[:2] {
			if err := h.Broadcast(t.Context(), []byte("x"), m.keys[3].ID()); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if _, _, err := m.hubs[3].Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.hubs[2].Send(t.Context(), m.keys[3].ID(), []byte("not taken")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		errs := make([]error, len(m.hubs))
		var closing sync.WaitGroup
		for i, h := range m.hubs {
			closing.Go(func() { errs[i] = h.Close(t.Context()) })
		}
		closing.Wait()
		if errs[0] != nil || errs[1] != nil || errs[2] == nil || errs[3] != nil || time.Since(began) > 30*time.Millisecond {
			t.Errorf("Close = %v after %v; want an error of the third, within 30 ms", errs, time.Since(began))
		}
	})
}

// A hub that was never started, and one that is closed while it dials.
func TestCloseEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		h, err := hub.New(hub.Config{Key: key(t, 1), Transports: []conn.Transport{network.Transport()}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Add(at(key(t, 2), address(t, "mem://b"))); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		c := newCouple(t)
		c.net.Stall(c.id(0), c.id(1))
		c.add(0, names[1])
		c.add(1, names[0])
		time.Sleep(time.Second)
		began := time.Now()
		for _, h := range c.hubs {
			if err := h.Close(t.Context()); err != nil || time.Since(began) != 0 {
				t.Errorf("Close = %v after %v", err, time.Since(began))
			}
		}
	})
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		cfg := hub.Config{Key: key(t, 1), Transports: []conn.Transport{network.Transport()}, Listen: []identity.Address{address(t, "mem://x:0"), address(t, "mem://a")}}
		h := start(t, cfg)
		defer stop(h)
		if a := h.Addrs(); len(a) != 2 || a[0].Host == "x:0" || a[1] != cfg.Listen[1] {
			t.Errorf("Addrs = %v", a)
		}
		if err := h.Start(t.Context()); err == nil {
			t.Error("Start worked twice")
		}
		cfg.Key, cfg.Transports = key(t, 2), []conn.Transport{network.Transport()}
		other, err := hub.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer stop(other)
		if err := other.Start(t.Context()); err == nil {
			t.Error("Start at an address that is in use worked")
		}
	})
}

// Callbacks for a member take turns, whatever happens; a panic in one does no harm.
func TestCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		c := newCouple(t, hub.Config{
			OnConnect:    func(identity.NodeID) { events = append(events, "on"); panic("in OnConnect") },
			OnDisconnect: func(identity.NodeID, error) { events = append(events, "off"); panic("in OnDisconnect") },
			Backoff:      panics{},
		})
		c.add(0, names[1])
		c.add(1)
		for range 20 {
			time.Sleep(5 * time.Second)
			c.cut()
		}
		time.Sleep(10 * time.Second)
		c.send(0, "x")
		c.recv(1, "x")
		c.stop()
		for i, e := range events {
			if e != []string{"on", "off"}[i%2] {
				t.Fatalf("the calls do not take turns: %v", events)
			}
		}
		if len(events) != 42 {
			t.Errorf("%d calls, want 42: %v", len(events), events)
		}
	})
}

type panics struct{}

func (panics) Next(int) time.Duration { panic("in Next") }
