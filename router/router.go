// Package router says where messages go: what a sender may address (a [Route])
// and how the table that a node was given turns it into the next step
// (an [Action]).
//
// A node asks its [Table] at every hop. The table knows nothing of connections
// but their IDs, and a node knows nothing of the table but this interface, so
// that static maps, Kademlia and anything of your own are interchangeable:
//
//	func (t *myTable) PathToNode(dest identity.NodeID, in identity.ConnID) router.Action {
//		if dest == t.self {
//			return router.Deliver()
//		}
//		return router.Forward(t.links[dest]) // Forward(0) is Reject
//	}
//
// Package routertest holds the conformance suite for tables; router/static and
// router/kademlia are the tables that come with plexus.
package router

import (
	"fmt"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A Rule is the kind of a [Route].
type Rule uint8

// The rules. Their values are part of the wire format.
const (
	_           Rule = iota // the zero Route leads nowhere
	RuleConn                // the node at the other end of a connection
	RuleNode                // a node, over as many hops as it takes
	RuleKey                 // the node closest to a key
	RuleService             // any one node that serves a service
)

// A Route is the address of a message. Make one with [ToConn], [ToNode],
// [ToKey] or [ToService]. Routes are values: compare them with ==.
type Route struct {
	Rule    Rule
	Service identity.ServiceID // the service addressed; 0: the sender's own
	Conn    identity.ConnID    // for RuleConn
	Target  [32]byte           // the node ID or key, for RuleNode and RuleKey
}

// ToConn addresses the node at the other end of a connection of this node: its
// handler for that connection, or its behaviour where there is no handler.
func ToConn(id identity.ConnID) Route { return Route{Rule: RuleConn, Conn: id} }

// ToNode addresses the behaviour on a node, which may be this node.
func ToNode(id identity.NodeID) Route { return Route{Rule: RuleNode, Target: id} }

// ToKey addresses the behaviour on the node closest to a key, as the tables on
// the way see it.
func ToKey(key identity.Key) Route { return Route{Rule: RuleKey, Target: key} }

// ToService addresses the behaviour of a service on any one node that serves
// it; this node, if it does.
func ToService(id identity.ServiceID) Route { return Route{Rule: RuleService, Service: id} }

// At returns the route with another service addressed than the sender's own.
func (r Route) At(id identity.ServiceID) Route {
	r.Service = id
	return r
}

// Node returns the node addressed by a RuleNode route, else the zero ID.
func (r Route) Node() identity.NodeID {
	if r.Rule != RuleNode {
		return identity.NodeID{}
	}
	return r.Target
}

// Key returns the key addressed by a RuleKey route, else the zero key.
func (r Route) Key() identity.Key {
	if r.Rule != RuleKey {
		return identity.Key{}
	}
	return r.Target
}

// String describes the route for logs.
func (r Route) String() string {
	at := ""
	if r.Service != 0 && r.Rule != RuleService {
		at = "/" + r.Service.String()
	}
	switch r.Rule {
	case RuleConn:
		return "conn:" + r.Conn.String() + at
	case RuleNode:
		return "node:" + r.Node().Short() + at
	case RuleKey:
		return "key:" + identity.NodeID(r.Target).Short() + at
	case RuleService:
		return "service:" + r.Service.String()
	case 0:
		return "nowhere"
	}
	return fmt.Sprintf("rule%d", uint8(r.Rule))
}

// An Action is what a table says of a route. The zero Action rejects it.
type Action struct {
	deliver bool
	conn    identity.ConnID
}

// Reject says that there is no way. It is the zero Action.
func Reject() Action { return Action{} }

// Deliver says that the message has arrived: it is for this node.
func Deliver() Action { return Action{deliver: true} }

// Forward says that the message goes on over a connection. Forward(0) is Reject.
func Forward(conn identity.ConnID) Action { return Action{conn: conn} }

// IsReject reports whether there is no way.
func (a Action) IsReject() bool { return a == Action{} }

// IsDeliver reports whether the message is for this node.
func (a Action) IsDeliver() bool { return a.deliver }

// Conn returns the connection to forward over, zero for the other actions.
func (a Action) Conn() identity.ConnID { return a.conn }

// String describes the action: "reject", "deliver" or "forward:7".
func (a Action) String() string {
	switch {
	case a.deliver:
		return "deliver"
	case a.conn != 0:
		return "forward:" + a.conn.String()
	}
	return "reject"
}

// A Table finds the next step of a message. Any method may be called from any
// goroutine at any time, on the path of every message: it allocates nothing,
// never blocks, and never takes a lock that a writer holds while it works
// (publish snapshots through an atomic pointer).
//
// in is the connection that the message came in on, zero at its origin. It is
// never the answer.
type Table interface {
	// PathToNode finds the way to a node. The node itself delivers.
	PathToNode(dest identity.NodeID, in identity.ConnID) Action
	// PathToKey finds the way to the node closest to a key. A table always
	// has an answer: where it knows no closer node, it delivers here.
	PathToKey(key identity.Key, in identity.ConnID) Action
	// PathToService finds the way to one node that serves a service.
	PathToService(id identity.ServiceID, in identity.ConnID) Action
}

// PathTo applies a table to a route. Connections need no table: a message to a
// connection goes out on it at its origin and is delivered where it comes in.
func PathTo(t Table, r Route, in identity.ConnID) Action {
	switch r.Rule {
	case RuleConn:
		if in != 0 {
			return Deliver()
		}
		return Forward(r.Conn)
	case RuleNode:
		return t.PathToNode(r.Target, in)
	case RuleKey:
		return t.PathToKey(r.Target, in)
	case RuleService:
		return t.PathToService(r.Service, in)
	}
	return Reject()
}

// A Link is what a table may know of a connection.
type Link struct {
	Conn     identity.ConnID
	Node     identity.NodeID
	Services []identity.ServiceID // what the node at the other end serves
	RTT      time.Duration        // measured round-trip time; zero: not yet known
}

// A Learner is a [Table] that wants to be told of connections. The node calls
// its methods one at a time: AddLink before the first message of a connection,
// and again whenever services or round-trip time change; RemoveLink when it takes
// no more. A table keeps no reference to l.Services: it copies.
type Learner interface {
	AddLink(l Link)
	RemoveLink(id identity.ConnID)
	// SetLocal tells which services this node serves, at start and on change.
	SetLocal(services []identity.ServiceID)
}

// A Directory is a [Table] that can be told of nodes beyond this node's
// connections, as a discovery behaviour learns of them. Methods may be called
// from any goroutine.
type Directory interface {
	// SetNode records which services a node serves. It copies.
	SetNode(id identity.NodeID, services []identity.ServiceID)
	// RemoveNode forgets a node.
	RemoveNode(id identity.NodeID)
}

// A Resolver is a [Table] that can choose, at the origin of a message, one
// node among all that it knows to serve a service. The message then travels to
// that node, where PathToService asks every hop anew. ok is false where the
// table knows of none.
type Resolver interface {
	ResolveService(id identity.ServiceID) (node identity.NodeID, ok bool)
}
