// Package latency measures the connections of a node: round-trip time, its
// variation and jitter, and loss.
//
//	l := latency.New(latency.Config{OnMeasure: func(c identity.ConnID, node identity.NodeID, rtt time.Duration) { ... }})
//	node.Register(latency.Service, l)
//	...
//	rtt, ok := l.RTT(node) // never blocks
//
// The service is called "plexus/latency"; its default ID is [Service].
//
// # What it does
//
// A handler on each connection sends a probe when the connection opens and at
// each Config.Interval, and the handler at the other end answers, both on their
// connection's turn. So what is measured is the path and the queues of the two
// runtimes, and not how busy behaviours are. Round-trip times are smoothed as
// TCP does (RFC 6298), jitter as RTP does (RFC 3550, section 6.4.1), and loss is
// counted over a sliding window of probes.
//
// Over a stream a packet that is lost is not a probe that is lost: it is a
// longer round trip. Loss of probes then means answers that took longer than
// Config.Timeout; what the transport itself has counted is in
// Measurement.Transport.
//
// # Guarantees
//
//   - The first measurement is there one round trip after the connection opens;
//     before, RTT is what the transport says, if it does.
//   - An answer counts once, if it carries the random nonce of a probe that
//     was sent on this connection and whose time has not run out. All others
//     are counted and ignored.
//   - Reading (Peers, RTT) never blocks and takes no lock.
//   - What is kept for a connection is bounded, and goes with it.
//   - With Config.MaxMissed, a connection is closed only if nothing at all came
//     in on it since the first of the unanswered probes was sent.
//
// It does not see through a peer that answers late on purpose, and a pause of
// this whole process counts as part of the round trips that it interrupts.
//
// # Messages
//
// Numbers are big-endian. Bytes after these fields are ignored.
//
//	kind 1, probe, and kind 2, answer
//	  0      4  sequence: 1 for the first probe of the connection, then 2, ...
//	  4      8  nonce: random; the answer has the one of its probe
package latency
