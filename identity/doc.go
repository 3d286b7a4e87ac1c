// Package identity names things: nodes by their public keys, services by
// numbers, points of the key space by hashes, and peers by their addresses.
//
// A node is its ed25519 key pair. Its ID is the public key itself, so that an
// ID can be verified, and sealed to, without looking anything up:
//
//	key, err := identity.Generate()
//	id := key.ID()                         // 32 bytes
//	s := id.String()                       // 52 characters of lower-case base32
//	back, err := identity.ParseNodeID(s)
//
// A private key lives in a file that only its owner can read; [LoadKey]
// refuses one that others can.
//
// Keys of the key space ([Key]) are 256-bit points. A node stands at the
// SHA-256 of its ID, whatever else is placed there at the SHA-256 of its name,
// and distance is XOR, as in Kademlia (Maymounkov and Mazières, 2002).
//
// An [Address] says how to reach a socket, a [PeerAddress] how to reach a node:
//
//	quic://127.0.0.1:4100
//	<id>@quic://198.51.100.7:4100,tcp://198.51.100.7:4100
package identity
