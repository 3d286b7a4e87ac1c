// Package hub keeps a node connected to a known set of peers by durable
// channels: what consensus, replication and multi-party computation want,
// without the runtime.
//
//	h, err := hub.New(hub.Config{
//		Key:        key,
//		Transports: []conn.Transport{quic.New(), tcp.New()},
//		Listen:     addresses,
//	})
//	err = h.Start(ctx)
//	for _, peer := range peers {
//		_, err = h.Add(peer)
//	}
//
//	err = h.Broadcast(ctx, proposal)     // to all: arrives exactly once, in order
//	from, p, err := h.Recv(ctx)          // from any
//	err = h.Close(ctx)
//
// # What it promises
//
// Each member has an [endpoint.Endpoint], so that messages to and from it are
// neither lost nor repeated nor overtaken while both processes live, whatever
// becomes of connections. When a member's process starts anew, Recv returns an
// [*endpoint.RestartError] with the messages of unknown fate. A hub that is
// closed and made again is a process that starts anew, unless it has a
// [Config.Journal]: then its members see a long break, what Send has taken
// arrives, and a message comes again if Recv had not been called after it.
//
// # Who connects
//
// Of two nodes, the one with the lower ID dials if it has addresses of the other.
// The one with the higher ID dials too if it has addresses and nothing has come
// for a moment, or where it was the one whose dial worked. Both accept. When
// dials meet, one connection is left, the same on both sides. A connection that
// breaks is renewed at once, and then under [Config.Backoff].
//
//	          ┌────────────────────── breaks ──────────────────────┐
//	          v                                                    │
//	added ─> dial ── works ──> authorize ──> connected ── 30 s ──> dial what is
//	          ^ │                 │              ^                 preferred
//	          │ └── fails ────────┤              │                      │
//	          └── Backoff.Next <──┘              └── moves, or stays <──┘
//
// # Several addresses
//
// The addresses of a member stand in order of preference, and may be of several
// transports. They are dialled staggered and the first that answers is taken
// (what failed lately goes last), so that where UDP is blocked TCP is found. Later
// the node that has dialled tries the addresses that it prefers to the one in use,
// and the channel moves to one that works.
//
// # Membership
//
// Connections are taken from members only; others are refused with a reason that
// they can read. [Hub.Remove] ends a member's endpoint and bars it until it is
// added again. An endpoint that ends by itself (its other end was closed, or
// [Config.RenewWithin] has passed) leaves the hub: Recv returns the cause, and the
// node may be added again.
package hub
