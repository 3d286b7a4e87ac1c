// Package discovery finds the other nodes of a network and keeps enough
// connections to them that every node can be reached.
//
//	d := discovery.New(discovery.Config{
//		Key:       key,
//		Seeds:     seeds,                         // []identity.PeerAddress
//		Addresses: func() []identity.Address { ... },
//		Services:  func() []conn.Service { ... },
//		Directory: table,                         // a router.Directory
//	})
//	node.Register(discovery.Service, d)
//	...
//	peers, err := d.Peers(ctx)
//
// The service is called "plexus/discovery"; its default ID is [Service].
//
// # What it does
//
// It joins through seeds, which it dials with jittered exponential back-off
// whenever it has no connection. Each node signs a record of itself; records
// spread to all nodes, and a node whose record is not renewed is forgotten. Of
// the nodes it knows it dials the nearest one in each Kademlia bucket where it
// has no connection, and others up to Config.Target, so that greedy forwarding
// by XOR distance reaches every node. Connections that neither end needs are
// closed with the cause "discovery: link not needed".
//
// # Guarantees
//
//   - All connected nodes know each other; a newcomer is known within a tick or
//     so for each hop. 64 nodes that know one seed all know each other after
//     half a second.
//   - A node that leaves is forgotten within a tick a hop, one that crashes
//     when its record's lifetime ends, whatever the clocks of others say: the
//     age of a record travels with it. The dead do not come back: their
//     records are remembered for Config.Retention and refused.
//   - Only the holder of its key can make a record of a node, or change one.
//     The newer sequence wins. A node that restarts with its clock set back
//     is told its last sequence by others, and goes on above it.
//   - A connection is closed only when both ends have agreed to do without,
//     and is older than Config.TrimAge.
//   - Networks that were split find each other again, through the seeds and
//     through nodes that were forgotten less than Config.Retention ago.
//   - What a remote can make grow is bounded: nodes, dead nodes, records that
//     are waited for, dials, the size of every message and record. The first
//     record with a wrong signature ends the connection it came in on.
//
// It does not guarantee that a known node can be reached, nor that a crash is
// noticed at once; records are public to every node of the network, and any
// node that is admitted to it may add nodes until the bound is reached.
//
// # Messages
//
// Numbers are big-endian. Messages go to neighbours only, over one connection;
// they have at most 65536 bytes. Unknown kinds, and bytes after the fields of
// digest and link, are ignored.
//
//	kind 1, records: records, whole
//	  0      1  flags; 1: this ends the answer to a request
//	  then, at most 256 times
//	  0      4  age of the record in milliseconds
//	  4      2  length of the record
//	  6      .  the record
//
//	kind 2, announce: what the sender has
//	  0      1  flags; 1: the sender wants the same in return
//	  1     8n  fingerprints, at most 4096
//
//	kind 3, request: what the sender wants
//	  0     8n  fingerprints, at most 256
//
//	kind 4, digest: a hash of what the sender knows
//	  0      4  live records, the sender's own included
//	  4      8  XOR of their contents
//
//	kind 5, link: what the sender thinks of this connection
//	  0      1  0 needed, 1 idle, 2 drop (propose to close it), 3 agree
//	  1      2  connections of the sender
//
// A fingerprint is the first eight bytes of the SHA-256 of a record. A content
// is the same of the record's node ID and what lies between its lifetime and
// its signature.
//
// When a connection opens, both ends send their own record and announce all that
// they know. News is announced once to every neighbour that has not announced
// it itself, at the next tick if something has changed, else a thirtieth of
// the TTL later at most. Who lacks a record asks one of those that have it. Each
// interval of anti-entropy a digest goes to one neighbour, in turn; one that
// knows something else announces everything.
//
// # Records
//
// A record has at most 2048 bytes and is passed on as it was received.
//
//	 0      1  version, 1
//	 1     32  node ID
//	33      8  sequence: milliseconds since the Unix epoch, below 2^62
//	41      4  lifetime in milliseconds, at most a day; 0: the node leaves
//	45      1  number of addresses, at most 16; each
//	             1 length, then the text of the address
//	 .      1  number of services, at most 64; each
//	             2 ID, 4 version, 1 length (at most 64), then the name
//	 .      .  fields of later versions, signed and passed on
//	-64    64  ed25519 signature, by the node ID, of
//	             "plexus/discovery record v1", a zero byte,
//	             and everything before the signature
//
// Addresses that a node cannot read, or that name no single host and port, are
// left out by that node and passed on.
package discovery
