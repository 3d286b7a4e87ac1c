package network_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

func addresses(names ...string) (out []identity.Address) {
	for _, n := range names {
		out = append(out, identity.Address{Scheme: "mem", Host: n})
	}
	return out
}

// Dials of one node at the same time are one; their failure is told once to
// every behaviour, and once to each who waits.
func TestDialsAreShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p, q := newProbe(), newProbe()
		q.info.Name = "second"
		failed := make(chan error, 100)
		var dials []conn.Dial
		p.onDialError = func(_ *agent.Behavior, d conn.Dial, err error) { dials = append(dials, d); failed <- err }
		q.onDialError = func(_ *agent.Behavior, _ conn.Dial, err error) { failed <- err }
		h := b.host(1)
		register(t, h, service, p)
		register(t, h, 71, q)
		h.run("mem://a")
		there := b.host(2)
		stuck := there.run("mem://b")
		b.net.Stall(h.Self(), stuck.Self())
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				if _, err := h.Connect(soon(t), stuck.peer()); err == nil {
					t.Error("Connect worked")
				}
			})
		}
		synctest.Wait()
		for range 5 {
			if err := p.a.Dial(stuck.peer()); err != nil {
				t.Fatal(err)
			}
		}
		if s := h.State(); len(s.Dialling) != 1 || s.Dialling[0] != stuck.Self() {
			t.Errorf("dialling %v", s.Dialling)
		}
		group.Wait()
		synctest.Wait()
		if len(failed) != 2 || len(dials) != 1 || dials[0].Peer.ID != stuck.Self() || dials[0].Retry.IsZero() {
			t.Errorf("%d calls of OnDialError, want one of each behaviour: %+v", len(failed), dials)
		}
		if h.count("dials") != 1 || h.count("dials_shared") != 14 || h.count("dial_errors") != 1 {
			t.Errorf("counted %d dials, %d shared, %d failed", h.count("dials"), h.count("dials_shared"), h.count("dial_errors"))
		}
		b.net.Heal(h.Self(), stuck.Self())
	})
}

func TestDialErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		h, other := b.with(1, p), b.with(2, newProbe())
		foreign := b.with(3, newProbe(), func(c *network.Config) { c.Network = "elsewhere" })
		ctx := soon(t)
		if err := p.a.Dial(h.peer()); !errors.Is(err, agent.ErrSelf) {
			t.Errorf("Dial of itself: %v", err)
		}
		if err := h.Add(h.peer()); !errors.Is(err, agent.ErrSelf) {
			t.Errorf("Add of itself: %v", err)
		}
		for _, err := range []error{p.a.Dial(identity.PeerAddress{ID: other.Self()}), h.Add(identity.PeerAddress{ID: other.Self()})} {
			if err == nil {
				t.Error("a peer without addresses was dialled")
			}
		}
		_, err := h.Connect(ctx, identity.PeerAddress{ID: key(t, 50).ID(), Addresses: []identity.Address{other.addr}})
		var wrong *conn.WrongNodeError
		if !errors.As(err, &wrong) || wrong.Got != other.Self() {
			t.Errorf("another node answers: %v", err)
		}
		_, err = h.Connect(ctx, identity.PeerAddress{ID: key(t, 51).ID(), Addresses: addresses("nobody")})
		wantCode(t, err, conn.CodeUnreachable)
		_, err = h.Connect(ctx, foreign.peer())
		wantCode(t, err, conn.CodeNetwork)
		_, err = h.Connect(ctx, identity.PeerAddress{ID: key(t, 52).ID(), Addresses: []identity.Address{{Scheme: "warp", Host: "x"}}})
		if err == nil {
			t.Error("a scheme without transport was dialled")
		}
		if _, err := h.Listen(ctx, "warp://x:1"); err == nil {
			t.Error("a scheme without transport was listened on")
		}
		// The first address that works is taken.
		info, err := h.Connect(ctx, identity.PeerAddress{ID: other.Self(), Addresses: append(addresses("nobody", "neither"), other.addr)})
		if err != nil || info.Remote != other.addr {
			t.Errorf("Connect: %+v, %v", info, err)
		}
		if err := p.a.Dial(other.peer()); !errors.Is(err, agent.ErrConnected) {
			t.Errorf("Dial of a connected node: %v", err)
		}
		if again, err := h.Connect(ctx, other.peer()); err != nil || again != info {
			t.Errorf("Connect to a connected node: %+v, %v", again, err)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := h.Connect(ended, identity.PeerAddress{ID: key(t, 53).ID(), Addresses: addresses("nobody")}); !errors.Is(err, context.Canceled) {
			t.Errorf("Connect with a context that has ended: %v", err)
		}
	})
}

// Failed dials are not repeated at once; the wait doubles up to a limit.
func TestDialBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		p := newProbe()
		var at []time.Time
		p.onDialError = func(_ *agent.Behavior, d conn.Dial, _ error) { at = append(at, time.Now()) }
		h := b.with(1, p, limits(func(l *network.Limits) { l.DialBackoff, l.DialBackoffMax = time.Second, 10*time.Second }))
		gone := identity.PeerAddress{ID: key(t, 50).ID(), Addresses: addresses("nobody")}
		if err := h.Add(gone); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := h.count("dials")
		if err := p.a.Dial(gone); err == nil || h.count("dials") != before {
			t.Errorf("a dial within the back-off: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			want *= time.Second
			if d := at[i+1].Sub(at[i]); d > want || d < want*3/4 {
				t.Errorf("wait %d is %v, want %v less up to a quarter", i, d, want)
			}
		}
		if w := h.State().Wanted; len(w) != 1 || w[0].ID != gone.ID {
			t.Errorf("wanted: %v", w)
		}
		if err := h.Delete(identity.PeerAddress{ID: gone.ID}); err != nil {
			t.Fatal(err)
		}
		n := len(at)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(at) != n || len(h.State().Wanted) != 0 {
			t.Error("a deleted peer is still dialled")
		}
		if err := h.Delete(identity.PeerAddress{ID: gone.ID}); err == nil {
			t.Error("Delete of an unknown peer worked")
		}
	})
}

// An added peer is connected as soon as it is there, and again whenever the
// connection is lost, until it is deleted.
func TestAddReconnects(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa := newProbe()
		na := b.with(1, pa)
		nb := b.host(2)
		register(t, nb, service, newProbe())
		if err := na.Add(identity.PeerAddress{ID: nb.Self(), Addresses: addresses("b")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		nb.run("mem://b")
		get(t, pa.connected, "the connection when the peer appears")
		for round := range 3 {
			synctest.Wait() // the other end has it too
			switch round {
			case 0:
				b.net.Cut(na.Self(), nb.Self())
				b.net.Heal(na.Self(), nb.Self())
			case 1:
				for _, c := range nb.State().Conns {
					nb.closeConn(c.ID)
				}
			case 2:
				nb.close()
				nb = b.host(2)
				register(t, nb, service, newProbe())
				nb.run("mem://b")
			}
			get(t, pa.lost, "OnDisconnect")
			get(t, pa.connected, "OnConnect again")
			wantConns(t, na, 1)
		}
		if err := na.Delete(identity.PeerAddress{ID: nb.Self()}); err != nil {
			t.Fatal(err)
		}
		get(t, pa.lost, "OnDisconnect after Delete")
		time.Sleep(time.Minute)
		wantConns(t, na, 0)
	})
}

// closeConn closes a connection through a behaviour that joins for it.
func (h *host) closeConn(id identity.ConnID) {
	h.t.Helper()
	p := newProbe()
	register(h.t, h, 999, p)
	if err := p.a.Close(id, errors.New("enough")); err != nil {
		h.t.Error(err)
	}
	if err := h.Unregister(999); err != nil {
		h.t.Error(err)
	}
}

// OnDisconnect may dial the node anew.
func TestDialFromOnDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa), b.with(2, pb)
		pa.onDisconnect = func(a *agent.Behavior, c conn.Info, _ error) {
			if c.ID < 20 {
				if err := a.Dial(nb.peer()); err != nil {
					t.Errorf("Dial from OnDisconnect: %v", err)
				}
			}
		}
		connect(t, na, nb)
		for range 20 {
			c := get(t, pa.connected, "OnConnect")
			synctest.Wait()
			if err := pa.a.Close(c.ID, nil); err != nil {
				t.Fatal(err)
			}
			get(t, pa.lost, "OnDisconnect")
		}
	})
}

// The cause of a Close reaches both ends, after what was sent before.
func TestCloseCause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa), b.with(2, pb)
		why := errors.New("why")
		for _, c := range []struct {
			cause  error
			code   conn.Code
			reason string
		}{
			{nil, conn.CodeClosed, ""},
			{why, conn.CodeClosed, "why"},
			{&conn.CloseError{Code: conn.CodeProtocol, Reason: "rude"}, conn.CodeProtocol, "rude"},
		} {
			info := connect(t, na, nb)
			for range 1000 {
				if err := pa.a.Send(router.ToConn(info.ID), 1, make([]byte, 500)); err != nil {
					t.Fatal(err)
				}
			}
			if err := pa.a.Close(info.ID, c.cause); err != nil {
				t.Fatal(err)
			}
			if err := pa.a.Send(router.ToConn(info.ID), 1, nil); !errors.Is(err, agent.ErrNoConn) {
				t.Errorf("Send after Close: %v", err)
			}
			// The table has forgotten it already: what is routed goes another way.
			if err := pa.a.Send(router.ToNode(nb.Self()), 1, nil); !errors.Is(err, agent.ErrNoRoute) {
				t.Errorf("Send by node after Close: %v", err)
			}
			here, there := get(t, pa.lost, "OnDisconnect"), get(t, pb.lost, "OnDisconnect at the other end")
			if c.cause != nil && !errors.Is(here, c.cause) || c.cause == nil && !errors.Is(here, conn.ErrClosed) {
				t.Errorf("the cause here is %v, want %v", here, c.cause)
			}
			var ce *conn.CloseError
			if !errors.As(there, &ce) || ce.Code != c.code || ce.Reason != c.reason || !ce.Remote {
				t.Errorf("the cause there is %+v, want %v %q", there, c.code, c.reason)
			}
			if n := len(pb.received); n != 1000 {
				t.Errorf("%d messages arrived before the end, want 1000", n)
			}
			for len(pb.received) > 0 {
				<-pb.received
			}
			if err := pa.a.Close(info.ID, nil); !errors.Is(err, agent.ErrNoConn) {
				t.Errorf("a second Close: %v", err)
			}
		}
	})
}
