package mem

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// ErrCut is beneath the errors of connections and dials between nodes that
// [Network.Cut] has cut off from each other.
var ErrCut = errors.New("mem: the network between the nodes is cut")

// Limits.
const (
	defaultBuffer = 256 << 10 // bytes that wait in one direction of a connection
	maxDatagrams  = 128       // datagrams that wait in one direction
	maxDatagram   = 1200      // bytes of a datagram
)

// A Network joins the transports that it has made. Networks do not know of
// each other. Methods may be called from any goroutine.
type Network struct {
	buffer int

	mu        sync.Mutex // guards what follows
	listeners map[string]*listener
	links     map[pair]*link
	names     int // counts up, for names that nobody chose
}

// pair names two nodes, the smaller ID first.
type pair struct{ a, b identity.NodeID }

func pairOf(a, b identity.NodeID) pair {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// A link is what the network knows of two nodes. One without connections and
// faults is forgotten.
type link struct {
	cut     bool
	stalled bool
	healed  chan struct{} // while stalled: closed by Heal and Cut
	lines   map[*line]struct{}
}

// A line is one connection: its two ends.
type line struct {
	ends   [2]*connection
	unseen [2]*conn.CloseError // by stalled ends, of the close at the other end
}

// NewNetwork returns an empty network.
func NewNetwork() *Network {
	return &Network{buffer: defaultBuffer, listeners: map[string]*listener{}, links: map[pair]*link{}}
}

// Transport returns a new transport on the network, for one node.
func (n *Network) Transport() *Transport {
	return &Transport{network: n, listeners: map[*listener]struct{}{}, closed: make(chan struct{})}
}

// link returns what is known of two nodes. Callers hold n.mu.
func (n *Network) link(p pair) *link {
	l := n.links[p]
	if l == nil {
		l = &link{lines: map[*line]struct{}{}}
		n.links[p] = l
	}
	return l
}

// tidy forgets a link that says nothing. Callers hold n.mu.
func (n *Network) tidy(p pair) {
	if l := n.links[p]; l != nil && !l.cut && !l.stalled && len(l.lines) == 0 {
		delete(n.links, p)
	}
}

// Cut breaks the connections between two nodes, with [ErrCut] at both ends, and
// refuses new ones until [Network.Heal].
func (n *Network) Cut(a, b identity.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(pairOf(a, b))
	l.cut = true
	l.unstall()
	for ln := range l.lines {
		for _, end := range ln.ends {
			end.end(&conn.CloseError{Code: conn.CodeUnreachable, Err: ErrCut}, true)
		}
	}
	clear(l.lines)
}

// Stall lets nothing more through between two nodes and tells neither: what
// they write waits until there is no room, closes do not arrive, and dials
// wait. It lasts until [Network.Heal].
func (n *Network) Stall(a, b identity.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(pairOf(a, b))
	if l.stalled {
		return
	}
	l.stalled, l.healed = true, make(chan struct{})
	for ln := range l.lines {
		for _, end := range ln.ends {
			end.in.stall(true)
		}
	}
}

// Heal ends Cut and Stall between two nodes. What was written to stalled
// connections then arrives; connections that were cut stay broken.
func (n *Network) Heal(a, b identity.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := pairOf(a, b)
	l := n.link(p)
	l.cut = false
	l.unstall()
	for ln := range l.lines {
		for i, end := range ln.ends {
			end.in.stall(false)
			if ln.unseen[i] != nil {
				end.end(ln.unseen[i], false)
				delete(l.lines, ln)
			}
		}
	}
	n.tidy(p)
}

func (l *link) unstall() {
	if l.stalled {
		l.stalled = false
		close(l.healed)
	}
}

// closed takes a closed connection off its link and tells the other end why,
// now or when the link is no longer stalled.
func (n *Network) closed(c *connection, cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[c.pair]
	if l == nil {
		return
	}
	if _, ok := l.lines[c.line]; !ok {
		return // the other end was first
	}
	other := 1 - c.side
	told := *conn.AsCloseError(cause)
	told.Remote, told.Err = true, nil
	told.Reason = shorten(told.Reason)
	if l.stalled {
		if c.line.unseen[c.side] == nil {
			c.line.unseen[other] = &told
			return
		}
	} else {
		c.line.ends[other].end(&told, false)
	}
	delete(l.lines, c.line)
	n.tidy(c.pair)
}

// shorten keeps a reason within what crosses the wire in other transports.
func shorten(s string) string {
	const most = 256
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// name returns an unused name that begins with prefix. Callers hold n.mu.
func (n *Network) name(prefix string) string {
	for {
		n.names++
		name := fmt.Sprintf("%s%d", prefix, n.names)
		if n.listeners[name] == nil {
			return name
		}
	}
}
