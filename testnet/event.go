package testnet

import (
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/sim"
)

// An EventKind says what an [Event] is.
type EventKind uint8

// The kinds of events.
const (
	EventTimer    = EventKind(sim.OpTimer)    // a timer of Node has fired
	EventDial     = EventKind(sim.OpDial)     // Node dials Peer
	EventAccept   = EventKind(sim.OpAccept)   // a connection that Peer makes has reached Node
	EventDeliver  = EventKind(sim.OpDeliver)  // Size bytes of a stream from Peer have reached Node
	EventDatagram = EventKind(sim.OpDatagram) // a datagram of Size bytes from Peer has reached Node
	EventLost     = EventKind(sim.OpLost)     // a datagram of Size bytes from Peer to Node is lost
	EventEnd      = EventKind(sim.OpEnd)      // the end of a connection to Peer has reached Node
	EventCall     = EventKind(sim.OpCall)     // a callback of Node is about to run
	EventFault    = EventKind(sim.OpFault)    // Name has happened to Node, and to Peer
)

// An Event is something that has happened in a simulation.
type Event struct {
	ID    uint64        // counts up from 1
	Cause uint64        // the ID of the event that led to this one; 0: the scenario
	At    time.Duration // virtual time
	Kind  EventKind
	Node  int // whom it happened to
	Peer  int // the other node; -1: none

	// Of calls: the callback, such as "OnMessage". Of faults: which. Of dials:
	// the address.
	Name string
	// Of calls.
	Service identity.ServiceID
	Conn    identity.ConnID // 0: of no connection
	Message conn.Kind       // of OnMessage
	Size    int             // of a payload, or of what has been delivered
}

// event shows an event of the world to those who watch.
func (s *Sim) event(e *sim.Event) {
	if len(s.observe) == 0 {
		return
	}
	shown := Event{ID: e.ID, Cause: e.Cause, At: e.At, Kind: EventKind(e.Op), Node: e.Node, Peer: e.Peer, Name: e.Name,
		Service: identity.ServiceID(e.Service), Conn: identity.ConnID(e.Conn), Message: conn.Kind(e.Kind), Size: e.Size}
	for _, f := range s.observe {
		f(&shown)
	}
}
