package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
)

// Why a dial is given up.
var (
	errConnected = errors.New("hub: connected meanwhile")
	errLost      = errors.New("hub: the connection broke meanwhile")
	errMoved     = errors.New("hub: the peer has other addresses now")
)

// errAtOnce is of an attempt that seemed to work.
var errAtOnce = errors.New("hub: the connection broke at once")

// A member is a node that is kept connected. Its keeper, a goroutine, does that,
// and is the only one that dials it.
type member struct {
	hub     *Hub
	id      identity.NodeID
	ctx     context.Context // ends the endpoint
	end     context.CancelCauseFunc
	ep      *endpoint.Endpoint
	changed chan struct{} // one token: the keeper has to look again
	removed atomic.Bool
	in      inboundPart // guarded by the inbound's mu

	// Of the keeper.
	mark  progress  // when the connection began
	hush  uint64    // silences, when it began
	last  dialled   // by this node
	stray conn.Conn // its address is not one of the peer's, and others were dialled
	move  time.Time // when addresses are dialled that are preferred

	mu       sync.Mutex // guards what follows
	addrs    []identity.Address
	backoff  Backoff // nil: the hub's
	rewait   bool    // it is another than that of wait
	ever     bool    // it has been connected
	on       conn.Conn
	open     time.Time        // when that began
	theirs   bool             // the peer has dialled the last connection
	remote   identity.Address // of the last connection
	lost     time.Time        // when it broke, or the member was added
	why      error            // it broke
	fails    int              // since the last connection that was of use
	failed   time.Time
	wait     time.Duration           // from then on
	err      error                   // of the last attempt
	unflush  context.CancelFunc      // ends flush; nil: it was not called
	dialling context.CancelCauseFunc // the dial under way; nil: there is none
	moving   bool                    // it is for another connection than the first
}

// A dialled connection and its address.
type dialled struct {
	c    conn.Conn
	addr identity.Address
}

// progress is what has got through, in both directions.
type progress struct{ received, taken uint64 }

func (m *member) progress() progress {
	s := m.ep.Stats()
	return progress{s.Received, s.Sent - uint64(s.Waiting) - s.Unknown}
}

// poke has the keeper look again.
func (m *member) poke() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// giveUp cancels the dial under way if it is of a kind.
func (m *member) giveUp(moving bool, cause error) {
	m.mu.Lock()
	cancel := m.dialling
	if m.moving != moving {
		cancel = nil
	}
	m.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
	m.poke()
}

// onConnect is OnConnect of the endpoint.
func (m *member) onConnect() { m.giveUp(false, errConnected) }

// onDisconnect is OnDisconnect of the endpoint.
func (m *member) onDisconnect(err error) {
	m.mu.Lock()
	m.why = err
	stop := m.unflush
	m.mu.Unlock()
	if stop != nil && errors.Is(err, conn.CodeShutdown) {
		stop()
	}
	m.giveUp(true, errLost)
}

// flush waits until the member has taken what was sent, and reports whether it
// has. It gives up when ctx ends and when the member shuts down.
func (m *member) flush(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	m.unflush = cancel
	m.mu.Unlock()
	if m.ep.Conn() == nil {
		cancel()
	}
	return m.ep.Flush(ctx) == nil
}

func (m *member) setAddresses(addrs []identity.Address) {
	m.mu.Lock()
	if slices.Equal(m.addrs, addrs) {
		m.mu.Unlock()
		return
	}
	m.addrs = slices.Clone(addrs)
	m.fails, m.err = 0, nil
	m.mu.Unlock()
	m.giveUp(false, errMoved)
	m.giveUp(true, errMoved)
}

func (m *member) setBackoff(b Backoff) {
	m.mu.Lock()
	m.backoff, m.rewait = b, true
	m.mu.Unlock()
	m.poke()
}

// over reports whether the member's endpoint has ended.
func (m *member) over() bool {
	select {
	case <-m.ep.Done():
		return true
	default:
		return false
	}
}

// peer returns how things stand.
func (m *member) peer() Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := Peer{ID: m.id, Addresses: slices.Clone(m.addrs), Endpoint: m.ep, Connected: m.on != nil, Since: m.lost}
	if p.Connected {
		p.Since, p.Remote, p.Direction = m.open, m.remote, conn.Outgoing
		if m.theirs {
			p.Direction = conn.Incoming
		}
		return p
	}
	p.Failures, p.Err = m.fails, m.err
	if m.fails > 0 && len(m.addrs) > 0 && m.dialling == nil {
		p.Retry = m.failed.Add(m.wait)
	}
	return p
}
