// Package mem carries connections within one process, for tests and
// simulations.
//
// A [Network] is where they live. Every node takes a transport of its own from
// it, listens at addresses like mem://alice and dials them:
//
//	network := mem.NewNetwork()
//	alice, bob := network.Transport(), network.Transport()
//
// Node IDs need no proof here: both ends are told by the keys that the nodes
// gave. Everything waits on channels only, so that it runs inside
// testing/synctest bubbles, and nothing takes time of its own.
//
// # Faults
//
// [Network.Cut] breaks the connections between two nodes and refuses new ones;
// [Network.Stall] lets nothing through without telling anybody, as when a cable
// is pulled out; [Network.Heal] ends both.
package mem
