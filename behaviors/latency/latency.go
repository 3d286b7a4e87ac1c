package latency

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// Service is the default service ID.
const Service identity.ServiceID = 3

// Name is the name of the service.
const Name = "plexus/latency"

// A Config configures a [Latency]. The zero value works.
type Config struct {
	// Interval is that of the probes on each connection. Default 1 s.
	Interval time.Duration
	// Timeout is how long an answer is waited for; then the probe counts as
	// lost. Default 3 times Interval, at most 64 times.
	Timeout time.Duration
	// Window is over how many of the last probes loss is counted, at most 64.
	// Default 64.
	Window int
	// MaxMissed closes a connection with conn.CodeTimeout when that many
	// probes in a row were lost and nothing else came in since the first of
	// them was sent. Default 0: connections are not closed.
	MaxMissed int
	// OnMeasure is called with the smoothed round-trip time after each
	// measurement. It runs on the turn of the connection, at the same time
	// as for others: it must be safe for that and must not block. Default:
	// none.
	OnMeasure func(c identity.ConnID, node identity.NodeID, rtt time.Duration)
}

// maxWindow is what fits into the word that remembers which probes were lost.
const maxWindow = 64

// withDefaults returns c with its zero fields set and the others checked.
func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 3 * c.Interval
	}
	c.Timeout = min(c.Timeout, maxOutstanding*c.Interval)
	if c.Window <= 0 || c.Window > maxWindow {
		c.Window = maxWindow
	}
	return c
}

// A Measurement is what is known of the path to a neighbour.
type Measurement struct {
	Conn identity.ConnID
	Node identity.NodeID
	// RTT is the smoothed round-trip time and Variation its mean deviation,
	// as in RFC 6298. Until the first answer RTT is what the transport says.
	RTT, Variation time.Duration
	// Last and Min are the last and the smallest measured round-trip time.
	Last, Min time.Duration
	// Jitter is the smoothed difference of round-trip times that follow each
	// other, as in RFC 3550.
	Jitter time.Duration
	// Loss is the share of probes that were lost, 0 to 1, over the window.
	Loss float64
	// Sent, Answered and Lost count probes; Ignored counts answers that came
	// twice, too late, or were never asked for.
	Sent, Answered, Lost, Ignored uint64
	// Updated is the time of the last change.
	Updated time.Time
	// Transport is what the transport itself has measured.
	Transport conn.TransportStats
}

// known reports whether there is a round-trip time.
func (m *Measurement) known() bool { return m != nil && m.RTT > 0 }

// A cell is where the handler of a connection leaves its measurement.
type cell struct {
	conn    identity.ConnID
	node    identity.NodeID
	current atomic.Pointer[Measurement]
}

// A snapshot is the cells of all connections. It is never changed, but replaced.
type snapshot struct {
	cells []*cell // by node, then connection
}

// A Latency is the behaviour. Make one with [New] for each node. Its exported
// methods, other than the callbacks, may be called from any goroutine and never
// block.
type Latency struct {
	config Config
	cells  atomic.Pointer[snapshot] // written on the behaviour's turn only
}

// New makes a Latency.
func New(config Config) *Latency {
	l := &Latency{config: config.withDefaults()}
	l.cells.Store(&snapshot{})
	return l
}

// Peers returns the measurements of all connections that have one, in the order
// of their nodes' IDs.
func (l *Latency) Peers() []Measurement {
	cells := l.cells.Load().cells
	out := make([]Measurement, 0, len(cells))
	for _, c := range cells {
		if m := c.current.Load(); m != nil {
			out = append(out, *m)
		}
	}
	return out
}

// RTT returns the smoothed round-trip time to a neighbour, false if there is
// none yet. Of several connections it is the shortest. It allocates nothing.
func (l *Latency) RTT(node identity.NodeID) (rtt time.Duration, ok bool) {
	cells := l.cells.Load().cells
	i, _ := slices.BinarySearchFunc(cells, node, func(c *cell, id identity.NodeID) int { return c.node.Compare(id) })
	for ; i < len(cells) && cells[i].node == node; i++ {
		if m := cells[i].current.Load(); m.known() && (!ok || m.RTT < rtt) {
			rtt, ok = m.RTT, true
		}
	}
	return rtt, ok
}

// Describe describes the behaviour.
func (l *Latency) Describe() behavior.Info {
	return behavior.Info{Name: Name, Version: 1, Tick: l.config.Interval}
}

// OnMessage ignores messages that are not of a neighbour: handlers take the
// others.
func (l *Latency) OnMessage(a *agent.Behavior, m *conn.Message) {
	a.Log().Debug("latency: message ignored", "kind", m.Kind, "from", m.From.Short(), "hops", m.Hops)
}

// OnConnect makes the handler that measures.
func (l *Latency) OnConnect(_ *agent.Behavior, c conn.Info) behavior.Handler {
	mine := &cell{conn: c.ID, node: c.Node}
	old := l.cells.Load().cells
	i, _ := slices.BinarySearchFunc(old, mine, byNode)
	cells := make([]*cell, 0, len(old)+1)
	cells = append(append(append(cells, old[:i]...), mine), old[i:]...)
	l.cells.Store(&snapshot{cells})
	return &prober{config: l.config, cell: mine, m: Measurement{Conn: c.ID, Node: c.Node}}
}

// OnDisconnect forgets the connection.
func (l *Latency) OnDisconnect(_ *agent.Behavior, c conn.Info, _ error) {
	cells := slices.Clone(l.cells.Load().cells)
	l.cells.Store(&snapshot{slices.DeleteFunc(cells, func(x *cell) bool { return x.conn == c.ID })})
}

func byNode(a, b *cell) int {
	return cmp.Or(a.node.Compare(b.node), cmp.Compare(a.conn, b.conn))
}
