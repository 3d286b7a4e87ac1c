package secure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/origin"
)

// Pauses after failed accepts, for example without file descriptors.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// errEvicted is the cause of ending a handshake for a newer one.
var errEvicted = &conn.CloseError{Code: conn.CodeLimit, Reason: "too many handshakes at once"}

// errStopped is the cause of ending handshakes when the listener closes.
var errStopped = &conn.CloseError{Code: conn.CodeShutdown, Reason: "the listener is closed"}

// Handshakes runs the handshakes of a listener beside each other and hands out
// the connections. At most a given number are in work or wait for Accept: one
// more ends the oldest of the host that has most of them. So a host that begins
// any number gets in its own way alone, until there are as many hosts as places.
// A host is an IPv4 address, or a /64 of IPv6; all whose addresses are no IP
// addresses, or unknown, are one.
//
//	arrives ─> GoFrom ─> handshake ─┬─> Accept
//	                                ├─ fails, or times out: forgotten
//	                                └─ one too many, or Close: ended
//
// Methods may be called from any goroutine.
type Handshakes struct {
	max   int
	ready chan conn.Conn
	errs  chan error
	done  chan struct{}
	work  sync.WaitGroup

	mu     sync.Mutex // guards what follows, and the hosts of places
	closed bool
	places places
}

// NewHandshakes returns Handshakes with at most limit at once.
func NewHandshakes(limit int) *Handshakes {
	return &Handshakes{max: limit, ready: make(chan conn.Conn), errs: make(chan error), done: make(chan struct{})}
}

// GoFrom runs shake on a goroutine of its own, for a connection from an address.
// When its context ends, shake must give up soon and free what it has. If it
// returns no connection and no error, there is nothing to hand out. GoFrom returns
// false, without a call of shake, if h is closed.
func (h *Handshakes) GoFrom(from net.Addr, shake func(context.Context) (conn.Conn, error)) bool {
	return h.start(origin.Host(origin.IP(from)), func(ctx context.Context, _ *place) (conn.Conn, error) { return shake(ctx) })
}

// Go is [Handshakes.GoFrom] for networks whose addresses do not tell hosts apart.
func (h *Handshakes) Go(shake func(context.Context) (conn.Conn, error)) bool {
	return h.GoFrom(nil, shake)
}

func (h *Handshakes) start(from netip.Prefix, shake func(context.Context, *place) (conn.Conn, error)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &place{end: cancel}
	h.places.add(p, from) // first: it counts for its host
	if h.places.count > h.max {
		evicted := h.places.next()
		h.places.remove(evicted)
		evicted.end(errEvicted)
	}
	h.work.Go(func() {
		defer cancel(nil)
		h.run(ctx, p, shake)
		h.mu.Lock()
		h.places.remove(p)
		h.mu.Unlock()
	})
	return true
}

func (h *Handshakes) run(ctx context.Context, p *place, shake func(context.Context, *place) (conn.Conn, error)) {
	c, err := shake(ctx, p)
	if err != nil || c == nil {
		return // errors are of no interest here: anybody can send garbage
	}
	select {
	case h.ready <- c:
	case <-ctx.Done():
		c.Close(context.Cause(ctx))
	}
}

// move charges a place to the host that its connection really comes from. It is
// the youngest place of that.
func (h *Handshakes) move(p *place, to net.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if prefix := origin.Host(origin.IP(to)); p.host != nil && p.host.prefix != prefix {
		h.places.remove(p)
		h.places.add(p, prefix)
	}
}

// Take takes connections from nl until h or nl is closed, and runs shake for each
// as [Handshakes.GoFrom] does; one that comes too late for that is closed. Other
// errors of nl are taken for temporary ones, for example for want of file
// descriptors: it hands them to Accept, after what, and pauses.
func (h *Handshakes) Take(nl net.Listener, what string, shake func(context.Context, net.Conn) (conn.Conn, error)) {
	h.take(nl, what, func(ctx context.Context, nc net.Conn, _ *place) (conn.Conn, error) { return shake(ctx, nc) })
}

func (h *Handshakes) take(nl net.Listener, what string, shake func(context.Context, net.Conn, *place) (conn.Conn, error)) {
	pause := minPause
	for {
		nc, err := nl.Accept()
		if err == nil {
			pause = minPause
			started := h.start(origin.Host(origin.IP(nc.RemoteAddr())), func(ctx context.Context, p *place) (conn.Conn, error) { return shake(ctx, nc, p) })
			if !started {
				nc.Close()
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) || !h.pause(fmt.Errorf("%s: %w", what, err), pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// pause waits after a failed accept, and tells who asks. It reports whether to
// go on.
func (h *Handshakes) pause(err error, pause time.Duration) bool {
	wait := make(chan struct{})
	timer := time.AfterFunc(pause, func() { close(wait) })
	defer timer.Stop()
	if !h.Fail(err, wait) {
		return false
	}
	select {
	case <-wait:
		return true
	case <-h.done:
		return false
	}
}

// Fail hands a temporary error to a waiting Accept, or drops it when wait
// closes first. It reports whether to go on.
func (h *Handshakes) Fail(err error, wait <-chan struct{}) bool {
	select {
	case h.errs <- err:
	case <-wait:
	case <-h.done:
		return false
	}
	return true
}

// Pending returns how many are in work or wait for Accept.
func (h *Handshakes) Pending() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.places.count
}

// Done is closed by Close.
func (h *Handshakes) Done() <-chan struct{} { return h.done }

// Accept is [conn.Listener.Accept].
func (h *Handshakes) Accept(ctx context.Context) (conn.Conn, error) {
	select {
	case <-h.done:
		return nil, conn.ErrClosed
	default:
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case c := <-h.ready:
		return c, nil
	case err := <-h.errs:
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-h.done:
		return nil, conn.ErrClosed
	}
}

// Close ends all handshakes, closes the connections that wait for Accept, and
// waits until nothing is left running.
func (h *Handshakes) Close() {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.done)
		for _, from := range h.places.hosts {
			for e := from.places.Front(); e != nil; e = e.Next() {
				e.Value.(*place).end(errStopped)
			}
		}
	}
	h.mu.Unlock()
	h.work.Wait()
}
