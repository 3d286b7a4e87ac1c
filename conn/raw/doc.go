// Package raw is a node of bare streams: it listens, dials, bounds, times out and
// takes down connections over TCP, Unix sockets or any net.Conn, and leaves every
// byte on them to you. It needs nothing else of plexus, and gives no identities
// and no encryption; a handshake of yours can.
//
// # Protocols
//
// What a node does is said by the methods that a value of yours has, any of these:
//
//	Handshake    at first: decide, and wrap the stream    Handshaker
//	NewDecoder   bytes -> messages                        DecoderMaker
//	OnMessage    each message, in order                   Receiver
//	NewEncoder   messages -> bytes                        EncoderMaker
//	OnConnect    a connection is there                    Connector
//	OnDisconnect it has ended, and of what; say goodbye   Disconnector
//
// A node that echoes whatever it reads:
//
//	type echo struct{}
//
//	func (echo) OnMessage(_ context.Context, c *raw.Conn, msg []byte) { c.Send(msg) }
//
//	node, err := raw.New(echo{}, raw.Config{Address: "127.0.0.1:4100"})
//	addr, err := node.Listen(ctx)
//
// [New] refuses methods that are misspelt or have another signature, see [Check].
// The program examples/bare has a wire format of its own.
//
// # A connection's life
//
//	accept ─┐  limits                                first cause of an end
//	        ├─────────> Handshake ──> OnConnect ──> OnMessage... ──> OnDisconnect ──> flush ──> gone
//	dial ───┘  (slot)      │ error, time-out                            exactly once
//	                       └──> closed; no callback hears of it
//
// Callbacks of one connection never overlap, and those of different ones run
// beside each other. One that panics costs its own connection. What sends, sends
// into a buffer, which one write empties when the stream is free: load makes
// batches by itself. A connection that is idle costs one goroutine, and no
// buffer while that waits on a socket.
//
// # What becomes of a message
//
// A Send that returns nil has queued the message. [Conn.SendTracked] tells when the
// system has taken it, or that it will not: flushed or failed, as far as this side
// can know. There are no acknowledgements on a bare stream but those of your wire
// format; package conn/endpoint has them, and delivers exactly once across
// connections.
//
// # Bounds
//
// Connections are bounded in all, per IP prefix and while they are being made,
// queues in messages and bytes, frames in bytes, and everything in time; see
// [Config]. What was refused, and why, is counted: [Node.Stats]. What waits on a
// connection just now is in its [Info].
//
// # Taking over a port
//
// A new process takes over a port while the old one ends, in one of two ways:
//   - With [Node.ListenerFile] the old one hands its socket over. Both accept from
//     one queue: no connection is lost.
//   - With Config.ReusePort the new one listens beside the old one, which then
//     calls [Node.StopListening], and [Node.Shutdown] when its connections have
//     done their work. StopListening takes what the system has queued before it
//     closes; on Linux what arrives in the moment between may be reset.
package raw
