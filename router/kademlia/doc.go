// Package kademlia routes greedily over live connections: every hop hands a
// message to the neighbour that is closest to where it goes, by the XOR
// distance of Kademlia (Maymounkov and Mazières, 2002). No node knows the whole
// network and none exchanges routes with another.
//
//	table := kademlia.New(key.ID())
//	node, err := network.New(network.Config{Key: key, Router: table, ...})
//
// A neighbour stands in the bucket of the length of the prefix that its key
// shares with this node's. A node with one link in each bucket that has nodes
// at all, about log2 of the network's size, reaches every node and finds the
// closest node to every key. Keeping such links is the business of discovery;
// the table only uses what is there.
//
// Every hop is strictly closer to the destination than the one before, so a
// route has no loop, whatever other nodes know:
//
//	PathToNode     this node: deliver; a link to the node: over it; else the
//	               neighbour closest to the node, if closer than this one
//	PathToKey      the neighbour closest to the key, if closer than this node;
//	               else deliver
//	PathToService  this node serves it: deliver; neighbours that serve it, by
//	               turns; else towards the nearest node that the directory
//	               names
//
// One exception: on the way to a service that no neighbour serves, each hop
// heads for what it takes for the nearest provider. That is loop free where
// directories agree and buckets are filled; elsewhere the TTL of messages ends
// what goes round. [Table.ResolveService] settles on a node at the origin and
// avoids the question.
//
// Of several links to one node the one with the lowest measured round-trip
// time is used, and the oldest of equals.
//
// The directory ([Table.SetNode]) is what others say, so it is bounded: see
// [Config]. What a link says of its own node goes before it.
//
// Iterative lookup, which asks nodes closer and closer to a key for their
// neighbours, is the place of a behaviour that dials what it finds and feeds
// this table; it is not part of the table.
package kademlia
