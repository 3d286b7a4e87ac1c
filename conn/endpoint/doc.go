// Package endpoint makes durable channels of messages between two nodes. A
// channel outlives the connections that carry it: they may break at any byte,
// be replaced, and change their transport.
//
// # What it promises
//
// While both processes live, every message arrives exactly once, in the order
// sent, in each direction, whatever happens to connections. When the peer starts
// anew, the sender is told exactly which messages have an unknown fate
// ([RestartError], or [Config.OnRestart]): those that were sent and that the
// peer's former life had not reported to have consumed. What was never sent
// goes to its new life.
//
// # How to use it
//
// An [Endpoint] is one end. Give it authenticated connections to its peer as you
// get them, by dialling or by accepting; each takes the place of the one before:
//
//	e, err := endpoint.New(ctx, key.ID(), peer, endpoint.Config{})
//	c, err := transport.Dial(ctx, conn.Local{Key: key}, peer, addr)
//	err = e.Carry(ctx, c) // and again, with another connection, when this one breaks
//
//	err = e.Send(ctx, []byte("hello")) // works while there is no connection, too
//	p, err := e.Recv(ctx)
//
// Package hub does the dialling and accepting for a set of peers, and knows when
// to do it again.
//
// # Memory and back-pressure
//
// A message is kept by the sender until the peer's application has taken it:
// that is, until Recv has returned it, or [Config.Receive] has. When
// [Config.Buffer] bytes wait, TrySend fails with [ErrFull] and Send waits. The
// receiver takes in at most [Config.Window] bytes that its application has not
// taken. The two directions are independent.
//
// # Which connection
//
// Of the two, the node with the lower ID decides: it numbers the connections in
// the order in which they have said hello, and the channel is on the one with
// the highest number. So two nodes that dial each other at the same moment end
// with one connection, the same on both sides. The other is closed once the
// channel has moved; what was under way on it is sent again on the new one.
package endpoint
