package network_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
)

// Reserved kinds are for parts. Whatever way they come, no callback sees them.
func TestG7ReservedKinds(t *testing.T) {
	for name, handlers := range map[string]bool{"handler": true, "behaviour": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				p := newProbe()
				if handlers {
					p.onConnect = func(*agent.Behavior, conn.Info) behavior.Handler {
						return behavior.HandlerFunc(func(_ *agent.Handler, m *conn.Message) { p.received <- received{Message: *m} })
					}
				}
				h := b.with(1, p)
				r := b.opened(2, h)
				get(t, p.connected, "the connection")
				r.send(wire.AppendPrefix(nil, wire.TypeDatagrams, 0))
				r.alive()
				synctest.Wait() // it listens for datagrams
				kind := conn.Kind(conn.KindReserved)
				r.send(directFrame(service, kind, "x"))
				r.send(append(wire.AppendPeer(nil, &wire.Peer{Service: service, From: service, Kind: kind}, 1), 'x'))
				datagram := directFrame(service, kind, "x")[wire.PrefixSize:]
				if err := r.c.(conn.DatagramConn).SendDatagram(datagram); err != nil {
					t.Fatal(err)
				}
				r.alive()
				synctest.Wait()
				select {
				case m := <-p.received:
					t.Errorf("a message of the reserved kind %#x reached a callback", m.Kind)
				default:
				}
				if got := h.count("unknown_service") + h.count("datagrams_dropped"); got != 3 {
					t.Errorf("%d messages were counted as for nobody, want 3", got)
				}
				r.send(directFrame(service, 1, "y"))
				if m := get(t, p.received, "what came after them"); m.Kind != 1 {
					t.Errorf("kind %d, want 1", m.Kind)
				}
			})
		})
	}
}

// Peers are deleted by one of their addresses too, whether they are connected or
// only wanted.
func TestDeleteByAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa, pb := newProbe(), newProbe()
		na, nb := b.with(1, pa), b.with(2, pb)
		gone := identity.PeerAddress{ID: key(t, 50).ID(), Addresses: addresses("nobody")}
		for _, peer := range []identity.PeerAddress{nb.peer(), gone} {
			if err := na.Add(peer); err != nil {
				t.Fatal(err)
			}
		}
		get(t, pa.connected, "the connection")
		if r := na.State().Routes; len(r) != 1 || r[0].Node != nb.Self() || len(r[0].Services) != 1 || r[0].Services[0] != service {
			t.Errorf("routes %+v, want one to %s with service %d", r, nb.Self(), service)
		}
		for _, peer := range []identity.PeerAddress{nb.peer(), gone} {
			peer.ID = identity.NodeID{}
			if err := na.Delete(peer); err != nil {
				t.Error(err)
			}
			if err := na.Delete(peer); err == nil {
				t.Errorf("%s was deleted twice", peer)
			}
			time.Sleep(time.Second)
		}
		get(t, pa.lost, "OnDisconnect")
		if w := na.State().Wanted; len(w) != 0 {
			t.Errorf("still wanted: %v", w)
		}
	})
}

// The back-off of a failed dial is for the addresses that failed.
func TestNewAddressIsDialledAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		pa := newProbe()
		na, nb := b.with(1, pa), b.with(2, newProbe())
		wrong := identity.PeerAddress{ID: nb.Self(), Addresses: addresses("nobody")}
		if _, err := na.Connect(t.Context(), wrong); err == nil {
			t.Fatal("connected to nobody")
		}
		if _, err := na.Connect(t.Context(), wrong); err == nil || errors.Is(err, agent.ErrConnected) {
			t.Fatalf("a dial within the back-off: %v", err)
		}
		other := identity.PeerAddress{ID: nb.Self(), Addresses: addresses("nobody else")}
		if _, err := na.Connect(t.Context(), other); err == nil {
			t.Fatal("connected to nobody")
		}
		before := na.count("dials")
		for _, peer := range []identity.PeerAddress{wrong, other, wrong} {
			if _, err := na.Connect(t.Context(), peer); err == nil || na.count("dials") != before {
				t.Errorf("by turns between addresses that have failed, %s was dialled within the back-off", peer)
			}
		}
		if _, err := na.Connect(t.Context(), nb.peer()); err != nil {
			t.Errorf("at another address: %v", err)
		}
	})
}
