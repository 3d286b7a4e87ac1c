// Package network is the runtime: it owns the connections of a node, asks its
// routing table where messages go, and calls the behaviours that are
// registered on it.
//
//	node, err := network.New(network.Config{
//		Key:        key,
//		Router:     kademlia.New(key.ID()),
//		Transports: []conn.Transport{quic.New(), tcp.New()},
//	})
//	node.Register(70, &Hello{})
//	addr, err := node.Listen(ctx, "quic://127.0.0.1:0")
//	err = node.Run(ctx) // until ctx ends; returns the cause
//
// It knows no transport, no router, no behaviour and no RPC: whatever ships
// with plexus could have been written by somebody else.
//
// # How a message travels
//
//	Send ──> window of the service ──> shared buffer ──> writer ──> transport
//	                │ full: ErrQueueFull
//
//	transport ──> reader ──┬─ handler of the connection, inline
//	                       ├─ queue of the behaviour ──> its turn
//	                       └─ routing table ──> buffer of another connection
//
// Every service has a flow-control window of its own on each connection. What
// it consumes is granted anew to the sender, so that a behaviour which falls
// behind holds back its own senders and nothing else, and the reader of a
// connection never waits for a behaviour.
//
// # Opening a connection
//
// After the transport has proven both node IDs, each side says hello
// (versions, network, limits, services), asks its behaviours to admit the
// other, and says that it is ready. A connection is open when both are. Where
// two nodes dial each other at the same moment, the one with the lower ID says
// that it is ready on one connection only: that one opens on both sides, and
// nothing has been sent on the other.
package network
