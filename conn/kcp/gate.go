package kcp

import (
	"net"
	"net/netip"
	"sync"
)

// maxOpening is how many sessions may wait to be taken from kcp-go, which has
// room for 128.
const maxOpening = 64

// A gate is the socket of a listener as kcp-go sees it. Packets of KCP pass that
// belong to a conversation which was opened with a cookie. So nothing is kept for
// an address, and nothing but a cookie goes there, before it has proven that it
// receives.
//
//	ask ────────> a cookie goes back
//	open ───────> a guest; kcp-go gets a packet that begins the session
//	KCP ────────> kcp-go, if of a guest
//	all else ───> dropped
//
// kcp-go reads from one goroutine and writes from many.
type gate struct {
	*net.UDPConn
	bakery *bakery

	mu      sync.Mutex // guards what follows
	open    bool       // somebody listens
	guests  map[netip.AddrPort]*guest
	opening int // guests without a session
}

// A guest is an address from where a conversation was opened.
type guest struct {
	from         netip.AddrPort
	addr         *net.UDPAddr
	conversation uint32
	session      *session // nil: kcp-go has not told of it yet
}

func newGate(udp *net.UDPConn) *gate {
	return &gate{UDPConn: udp, bakery: newBakery(), guests: map[netip.AddrPort]*guest{}}
}

// ReadFrom returns the next packet that is for kcp-go.
func (g *gate) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := g.ReadFromUDPAddrPort(p)
		if err != nil {
			return 0, nil, err
		}
		if n, to := g.receive(p, n, from); to != nil {
			return n, to.addr, nil
		}
	}
}

// receive looks at a packet of n bytes in p. If kcp-go gets one, it leaves that
// in p, and returns its size and whose it is.
func (g *gate) receive(p []byte, n int, from netip.AddrPort) (int, *guest) {
	if conversation, ok := conversationOf(p[:n]); ok {
		g.mu.Lock()
		defer g.mu.Unlock()
		if known := g.guests[from]; known != nil && known.conversation == conversation {
			return n, known
		}
		return 0, nil
	}
	o, ok := parseOpening(p[:n])
	switch {
	case ok && o.op == opAsk && g.isOpen():
		answer := opening{opCookie, o.conversation, g.bakery.cookie(from, o.conversation)}.packet()
		_, _ = g.WriteToUDPAddrPort(answer[:], from) // or it is lost: they ask again
	case ok && o.op == opOpen && g.bakery.knows(o.cookie, from, o.conversation):
		if known := g.enter(from, o.conversation); known != nil {
			first := greeting(o.conversation)
			return copy(p, first[:]), known
		}
	}
	return 0, nil
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// setOpen says whether somebody listens. If nobody does, those go who have no
// session yet.
func (g *gate) setOpen(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	for _, waiting := range g.guests {
		if !open && waiting.session == nil {
			g.remove(waiting)
		}
	}
}

// enter makes a guest of one who has a cookie, or returns nil: if it is one, or
// there is no room. One conversation from an address ends the one before.
func (g *gate) enter(from netip.AddrPort, conversation uint32) *guest {
	g.mu.Lock()
	before := g.guests[from]
	if before != nil && before.conversation == conversation || !g.open || g.opening >= maxOpening {
		g.mu.Unlock()
		return nil
	}
	var ended *session
	if before != nil {
		ended = before.session
		g.remove(before)
	}
	now := &guest{from: from, addr: net.UDPAddrFromAddrPort(from), conversation: conversation}
	g.guests[from] = now
	g.opening++
	g.mu.Unlock()
	if ended != nil {
		ended.kill(errReopened)
	}
	return now
}

// admit has start make the session of one that kcp-go tells of, unless its guest
// has gone, and reports whether it did. start is called with mu held.
func (g *gate) admit(from net.Addr, conversation uint32, start func(*guest) *session) bool {
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	known := g.guests[u.AddrPort()]
	if known == nil || known.conversation != conversation || known.session != nil {
		return false
	}
	known.session = start(known)
	g.opening--
	return true
}

// forget closes the gate for a guest, if it has not been closed yet.
func (g *gate) forget(gone *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.guests[gone.from] == gone {
		g.remove(gone)
	}
}

// remove takes a guest out. Callers hold mu.
func (g *gate) remove(gone *guest) {
	delete(g.guests, gone.from)
	if gone.session == nil {
		g.opening--
	}
}
