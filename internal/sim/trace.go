package sim

import (
	"math/bits"
	"time"

	"github.com/plexus-net/plexus/internal/env"
)

// An Op says what an [Event] is.
type Op uint8

// The events of a world.
const (
	OpTimer    Op = iota + 1 // a timer of Node has fired
	OpDial                   // Node dials Peer
	OpAccept                 // a connection from Peer has reached Node
	OpDeliver                // Size bytes of a connection from Peer have reached Node
	OpDatagram               // a datagram of Size bytes from Peer has reached Node
	OpLost                   // a datagram of Size bytes from Peer to Node is lost
	OpEnd                    // the end of a connection to Peer has reached Node
	OpCall                   // a callback of Node is called: Name, Service, Conn, Peer, Kind, Size
	OpFault                  // Name has happened to Node, and Peer
)

// An Event is something that has happened.
type Event struct {
	ID    uint64 // counts up from 1
	Cause uint64 // the ID of the event that has led to this one; 0: the world or main
	At    time.Duration
	Op    Op
	Node  int // the index of a host
	Peer  int // of another; -1: none

	Service uint16
	Name    string
	Conn    uint64
	Kind    uint32
	Size    int
}

// A trace sums up all events in a hash, and shows them to an observer.
type trace struct {
	hash    uint64
	count   uint64
	cause   uint64 // the event that what runs now follows from
	observe func(*Event)
	event   Event // the last one: observers do not keep it
}

// mix adds a word to a hash.
func mix(h, x uint64) uint64 {
	return bits.RotateLeft64(h^x, 29)*0x9e3779b97f4a7c15 + 0x632be59bd9b4e019
}

func (t *trace) add(event Event) {
	t.event = event
	e := &t.event
	t.count++
	e.ID, e.Cause = t.count, t.cause
	h := mix(t.hash, uint64(e.At))
	h = mix(h, uint64(e.Op)|uint64(uint32(e.Node))<<8|uint64(e.Service)<<40)
	h = mix(h, uint64(uint32(e.Peer))|uint64(e.Kind)<<32)
	h = mix(h, uint64(e.Size)|e.Conn<<32)
	h = mix(h, e.Cause)
	for i := range len(e.Name) {
		h = h*31 + uint64(e.Name[i])
	}
	t.hash = h
	t.cause = e.ID
	if t.observe != nil {
		t.observe(e)
	}
}

// Observe has f called with every event from now on. It must not keep the
// event, and must not act on the world.
func (w *World) Observe(f func(*Event)) { w.trace.observe = f }

// Hash returns a hash of all events so far, in their order. It is the same for
// the same seed.
func (w *World) Hash() uint64 { return w.trace.hash }

// Events returns how many events there were.
func (w *World) Events() uint64 { return w.trace.count }

// Cause returns the ID of the event that what runs now follows from; 0: none.
func (w *World) Cause() uint64 { return w.trace.cause }

// Call notes that a callback is called. The runtime says so, see env.Tracer.
func (h *Host) Call(c env.Call) {
	peer := -1
	if c.Node != h.id {
		if p := h.world.byID[c.Node]; p != nil {
			peer = p.Index
		}
	}
	h.world.trace.add(Event{At: h.world.Now(), Op: OpCall, Node: h.Index, Peer: peer, Service: c.Service, Name: c.Callback, Conn: c.Conn, Kind: c.Kind, Size: c.Size})
}

func (w *World) fault(name string, h, peer *Host) {
	e := Event{At: w.Now(), Op: OpFault, Node: h.Index, Peer: -1, Name: name}
	if peer != nil {
		e.Peer = peer.Index
	}
	w.trace.cause = 0
	w.trace.add(e)
}
