// Package state is a map that every node of a network has a copy of: small,
// shared settings and facts, such as configuration, presence and assignments.
//
//	s := state.New(state.Config{Key: key})
//	node.Register(state.Service, s)
//
//	err := s.Set(ctx, "config/rate", []byte("20"))  // here at once, elsewhere in a moment
//	v, ok := s.Get("config/rate")                   // from memory
//	for k, v := range s.Range("config/") { ... }
//	w := s.Watch("config/")                         // changes, by whomever
//
// It is a replicated last-writer-wins map: every node may write every key,
// unless Config.Allow says otherwise, and of several writes of a key the last
// one wins, the same on every node. "Last" is by hybrid logical clocks
// (Kulkarni et al., 2014): a write by a node that has seen another always comes
// after it, and writes that know nothing of each other are ordered by the
// clocks of their writers, then by the writers' IDs. Each entry is signed by
// its writer, so that nodes pass on what they cannot forge.
//
// # How it spreads
//
// Writes are batched for 10 ms and pushed to every connected peer that has the
// service. A peer that did not know an entry passes it on, once, to up to
// Fanout others, never back. What pushing misses is repaired by anti-entropy:
// once a second or so, and when a connection opens, a node compares a hash of
// all it holds with one peer's. Equal replicas are done with that, at 33 bytes
// a second; others find what differs in three more messages and exchange just
// that, in both directions.
//
// # What is guaranteed
//
//   - Convergence: when writing stops, nodes that are connected, by whatever
//     links and detours, come to hold the same entries, to the byte, whatever
//     was lost, repeated, overtaken or partitioned before.
//   - Reading your own writes: once Set returns, Get on the same node gives
//     that value or a later one.
//   - A deleted key does not come back within Grace (2 h), except by a write
//     that came after the deletion.
//   - A watcher's last word on a key is what the key is, however slow it reads.
//   - No peer can write in the name of another, exceed the limits of memory, or
//     make a node check signatures or send without bound.
//   - The value of a key is a function of the entries alone. Clocks that are
//     wrong cost no convergence: an entry stamped more than MaxSkew ahead is
//     kept, shown and passed on as any other (refusing it by the local clock
//     would make replicas differ), but does not draw other clocks ahead, and
//     the next write of that key is stamped just after it, so that it wins.
//
// # What is not
//
//   - No consensus, locks or transactions: of two writes at the same time one is
//     lost, and its writer is not told. Give each node keys of its own (as
//     "nodes/<id>/...") where that matters.
//   - Nothing is on disk: a key lives as long as some node that has it.
//   - A node that was away for longer than Grace can bring back what was deleted
//     meanwhile.
//   - Who may join the network may write what Allow lets it, up to the limits of
//     all. A full replica refuses new keys and keeps the old ones; what was
//     refused where is not the same on all nodes until there is room again.
//   - A writer that means harm can stamp a key with the last stamp there is, and
//     nobody overwrites it again. Allow keeps keys from such writers.
//   - Values travel encrypted between nodes, but every node reads every value.
//
// # Configuration
//
// See [Config]. Defaults: 4096 keys, 16384 tombstones, 64 MiB, keys to 256 bytes
// and values to 64 KiB, Grace 2 h, MaxSkew 5 s, Interval 1 s, Batch 10 ms, Fanout
// 8. Limits are told by [LimitError], counted in [Stats], and should be the same
// on all nodes; Domain, Grace and Allow must be.
//
// # Wire
//
// Service 4, named "plexus/state". Numbers are big-endian. Messages go to direct
// connections only, and begin with their version, 1; other versions are ignored
// and counted, which leaves room for records with owners. An entry:
//
//	offset  size
//	0       1     version of the entry, 1
//	1       1     flags: 1 = tombstone; others must be 0
//	2       8     stamp: 48 bits of milliseconds since 1970, 16 bits of counter
//	10      32    writer: a node ID, that is, an ed25519 public key
//	42      2     k, length of the key, 1 to 256
//	44      4     v, length of the value, 0 to 65536; 0 in a tombstone
//	48      k     key: UTF-8 without zero bytes
//	48+k    v     value
//	48+k+v  64    ed25519 signature of:
//	              "plexus/state/entry/v1", length of Domain (1 byte), Domain,
//	              and the entry up to here
//
// The entry with the greater (stamp, writer, bytes of the whole entry) wins. It
// is passed on as it came.
//
// The hash of a key is the first 16 bytes of its SHA-256; a replica's entries are
// compared in the order of these, in 256 buckets by their first byte. The hash of
// an entry is the SHA-256 of all its bytes. The hash of a bucket is 16 zero bytes
// if it is empty, else the first 16 bytes of the SHA-256 of its entries' hashes,
// in order. The root is the SHA-256 of "plexus/state/root/v1" and the 256 hashes
// of buckets.
//
//	kind 1, entries:  version (1), flags (1): 0 = pushed, or not the last page of
//	                  an answer; 1 = last page, a span is left: from (16), to
//	                  (16), both included; 2 = last page, the answer is complete.
//	                  Then entries, each after its length (4).
//	kind 2, root:     version (1), root (32).
//	kind 3, buckets:  version (1), 256 hashes (16 each). Answers a root that
//	                  differs.
//	kind 4, items:    version (1), flags (1): 1 = the sender takes no new keys.
//	                  Then up to 256 spans in ascending order: from (16), to
//	                  (16), number of items (2), and for each entry that the
//	                  sender has in the span, in ascending order: hash of its key
//	                  (16), stamp (8), first 8 bytes of its hash. Answers buckets,
//	                  or entries with flag 1. It is answered with the entries that
//	                  the sender lacks or has an older one of, and:
//	kind 5, want:     version (1), hashes of keys (16 each) in ascending order.
//	                  Answered with entries.
//
// Messages are filled up to 64 KiB, and exceed that only to hold a single entry.
// Golden vectors are in testdata/golden.txt.
package state
