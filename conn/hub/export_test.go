package hub

import "github.com/plexus-net/plexus/identity"

// Eager has a hub dial a member at once when its connection breaks, even if it
// would leave that to the other.
func Eager(h *Hub, id identity.NodeID) {
	m := h.member(id)
	m.mu.Lock()
	m.theirs = false
	m.mu.Unlock()
}

// MaxRefusing is how many connections are told at once why they are refused.
const MaxRefusing = maxRefusing

// Turn is how many messages are received from one member while others wait.
const Turn = turn

// Openings returns how many connections are being established.
func Openings(h *Hub) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.opening)
}

// Refusing returns how many connections are being told why.
func Refusing(h *Hub) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refusing
}
