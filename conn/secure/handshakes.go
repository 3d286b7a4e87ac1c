package secure

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
)

// Pauses after failed accepts, for example without file descriptors.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// errEvicted is the cause of ending the oldest handshake for a newer one.
var errEvicted = &conn.CloseError{Code: conn.CodeLimit, Reason: "too many handshakes at once"}

// errStopped is the cause of ending handshakes when the listener closes.
var errStopped = &conn.CloseError{Code: conn.CodeShutdown, Reason: "the listener is closed"}

// Handshakes runs the handshakes of a listener beside each other and hands out
// the connections. At most a given number are in work or wait for Accept: one
// more ends the oldest.
//
//	arrives ─> Go ─> handshake ─┬─> Accept
//	                            ├─ fails, or times out: forgotten
//	                            └─ oldest of too many, or Close: ended
//
// Methods may be called from any goroutine.
type Handshakes struct {
	max   int
	ready chan conn.Conn
	errs  chan error
	done  chan struct{}
	work  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closed  bool
	pending list.List // of context.CancelCauseFunc, the oldest first
}

// NewHandshakes returns Handshakes with at most limit at once.
func NewHandshakes(limit int) *Handshakes {
	return &Handshakes{max: limit, ready: make(chan conn.Conn), errs: make(chan error), done: make(chan struct{})}
}

// Go runs shake on a goroutine of its own. When its context ends, shake must
// give up soon and free what it has. If it returns no connection and no error,
// there is nothing to hand out. Go returns false, without a call of shake, if h
// is closed.
func (h *Handshakes) Go(shake func(context.Context) (conn.Conn, error)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	if h.pending.Len() >= h.max {
		oldest := h.pending.Front()
		oldest.Value.(context.CancelCauseFunc)(errEvicted)
		h.pending.Remove(oldest)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	entry := h.pending.PushBack(cancel)
	h.work.Go(func() {
		defer cancel(nil)
		h.run(ctx, shake)
		h.mu.Lock()
		h.pending.Remove(entry) // nothing, if it was evicted
		h.mu.Unlock()
	})
	return true
}

func (h *Handshakes) run(ctx context.Context, shake func(context.Context) (conn.Conn, error)) {
	c, err := shake(ctx)
	if err != nil || c == nil {
		return // errors are of no interest here: anybody can send garbage
	}
	select {
	case h.ready <- c:
	case <-ctx.Done():
		c.Close(context.Cause(ctx))
	}
}

// Take takes connections from nl until h or nl is closed, and runs shake for each
// as [Handshakes.Go] does; one that comes too late for that is closed. Other errors
// of nl are taken for temporary ones, for example for want of file descriptors: it
// hands them to Accept, after what, and pauses.
func (h *Handshakes) Take(nl net.Listener, what string, shake func(context.Context, net.Conn) (conn.Conn, error)) {
	pause := minPause
	for {
		nc, err := nl.Accept()
		if err == nil {
			pause = minPause
			if !h.Go(func(ctx context.Context) (conn.Conn, error) { return shake(ctx, nc) }) {
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
	return h.pending.Len()
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
		for e := h.pending.Front(); e != nil; e = e.Next() {
			e.Value.(context.CancelCauseFunc)(errStopped)
		}
	}
	h.mu.Unlock()
	h.work.Wait()
}
