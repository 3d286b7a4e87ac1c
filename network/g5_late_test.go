package network_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/durable"
	"github.com/plexus-net/plexus/internal/wire"
)

// What a life of a node has said before it ended may arrive after its next life
// has connected. It does not end that connection.
func TestG5WordsOfAnEarlierLife(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lower  bool      // the node has the lower ID, and chooses
		before int       // frames of the earlier life that arrive before the next one connects
		after  int       // those that arrive later
		dialed bool      // the connection of the earlier life came in later, too
		want   conn.Code // of the goodbye to the earlier life; 0: it gets none
	}{
		{"chosen by the node, all late", true, 0, 2, false, conn.CodeReplaced},
		{"chosen by the node, the hello late", true, 0, 1, false, conn.CodeReplaced},
		{"chosen by the node, the connection late", true, 0, 1, true, 0},
		{"chosen by the peer, all late", false, 0, 2, false, conn.CodeReplaced},
		{"chosen by the peer, the ready late", false, 1, 1, false, conn.CodeReplaced},
		{"chosen by the peer, the connection late", false, 0, 1, true, 0},
	} {
		for _, dur := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/durable=%t", tt.name, dur), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newBench(t)
					b.durable = dur
					p, next := newProbe(), newProbe()
					id, of := pairOf(t, tt.lower)
					n, peer := b.with(id, p), b.with(of, next)
					words := [][]byte{earlierHello(dur), earlierReady(dur)}
					var late *raw
					if !tt.dialed {
						late = b.raw(of, n)
						for _, w := range words[:tt.before] {
							late.send(w)
						}
						synctest.Wait()
					}
					if info := connect(t, peer, n); info.Node != n.Self() {
						t.Fatalf("%+v", info)
					}
					get(t, p.connected, "OnConnect")
					if tt.dialed {
						late = b.raw(of, n)
					}
					synctest.Wait()
					for _, w := range words[tt.before : tt.before+tt.after] {
						late.send(w)
					}
					if tt.want != 0 {
						wantCode(t, late.goodbye(), tt.want)
					}
					time.Sleep(time.Minute)
					synctest.Wait()
					conns := n.State().Conns
					if len(p.lost)+len(next.lost)+len(p.connected) != 0 || len(conns) != 1 || conns[0].Renewals != 0 {
						t.Errorf("the connection of the next life has ended: %d and %d OnDisconnect; open: %+v", len(p.lost), len(next.lost), conns)
					}
				})
			})
		}
	}
}

// pairOf returns the numbers of two keys. lower: the first has the lower ID.
func pairOf(t *testing.T, lower bool) (first, second byte) {
	first, second = 1, 2
	if (key(t, first).ID().Compare(key(t, second).ID()) < 0) != lower {
		return second, first
	}
	return first, second
}

// earlierHello is the hello of an earlier life of a peer.
func earlierHello(dur bool) []byte {
	return hello(func(h *wire.Hello) {
		h.Services = []wire.Service{probeService}
		if dur {
			h.Session = durable.Offer{Epoch: durable.Epoch{4}, Window: 1 << 20, MaxMessage: 1 << 20}
			h.Said = 8
		}
	})
}

func earlierReady(dur bool) []byte {
	if dur {
		return wire.AppendReady(nil, 9, 1)
	}
	return wire.AppendPrefix(nil, wire.TypeReady, 0)
}

// The next life itself is let in, at once, though its earlier one is still taken
// for alive: whichever end chooses.
func TestG5NextLifeIsLetIn(t *testing.T) {
	for _, lower := range []bool{true, false} {
		for _, dur := range []bool{false, true} {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				b.durable = dur
				p := newProbe()
				id, of := pairOf(t, lower)
				n := b.with(id, p)
				connect(t, b.with(of, newProbe()), n)
				get(t, p.connected, "OnConnect")
				again := b.host(of)
				register(t, again, service, newProbe())
				began := time.Now()
				connect(t, again.run("mem://again"), n)
				wantCode(t, get(t, p.lost, "OnDisconnect"), conn.CodeReplaced)
				get(t, p.connected, "OnConnect of the next life")
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}
