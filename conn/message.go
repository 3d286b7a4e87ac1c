package conn

import (
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A Kind tells the messages of one service apart. Values from [KindReserved]
// up belong to plexus itself (package rpc).
type Kind uint16

// KindReserved is the first kind that services may not use for themselves.
const KindReserved Kind = 0xff00

// A Message is what a behaviour or handler receives. It and its payload are
// valid until the callback returns: copy what is kept.
type Message struct {
	Service     identity.ServiceID // the service addressed: the receiver's
	Kind        Kind
	FromService identity.ServiceID // the service that sent it
	From        identity.NodeID    // the node that sent it first; this node, for local messages
	Conn        identity.ConnID    // the connection that it came in on; zero: sent on this node
	Hops        uint8              // connections that it has crossed; 0: sent on this node
	Payload     []byte             // at most the receiver's limit, may be empty
}

// A Direction says who dialled.
type Direction uint8

// The directions.
const (
	Outgoing Direction = iota + 1 // this node dialled
	Incoming                      // the other node dialled
)

// String returns "outgoing" or "incoming".
func (d Direction) String() string {
	switch d {
	case Outgoing:
		return "outgoing"
	case Incoming:
		return "incoming"
	}
	return "unknown direction"
}

// A Service is a service as nodes tell each other of it. Services match
// between nodes by ID and name.
type Service struct {
	ID      identity.ServiceID
	Name    string // at most 64 bytes
	Version uint32
}

// A Peer is what Admit decides on: a node that has proven its ID and said
// hello, before a connection to it opens.
type Peer struct {
	Node      identity.NodeID
	Direction Direction
	Remote    identity.Address
	Services  []Service // do not change it
}

// An Info describes an open connection. It is a value that does not change,
// but for what is said in [Stats].
type Info struct {
	ID        identity.ConnID
	Node      identity.NodeID
	Direction Direction
	Local     identity.Address
	Remote    identity.Address
	Opened    time.Time
	Service   Service // the receiver's service as the other node has it; zero in State
}

// Stats counts what a connection has carried. Counters only grow.
type Stats struct {
	TransportStats
	MessagesSent, MessagesReceived uint64
	// RTT in TransportStats is the transport's; Probe is measured by the
	// node's own probes from writer to reader, zero until the first.
	Probe        time.Duration
	LastReceived time.Time
	// Queued is what waits to be written, in bytes.
	Queued   int
	Renewals uint64 // connections that took the place of another, of a durable one
	ReadOnly bool   // admitted with ErrReadOnly and not yet authorised
}

// A Dial is an attempt of this node to connect to another.
type Dial struct {
	Peer identity.PeerAddress
	// Retry is when the node may be dialled again: earlier dials fail at
	// once with the same error. Zero: at any time.
	Retry time.Time
}
