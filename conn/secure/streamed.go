package secure

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A streamed is a secured that carries streams.
//
//	OpenStream ──> dial again ──> TLS ──> token ──> registry: whose is it? ──> room?
//	    ^                                                                       │
//	    └──────────────────── the answer <──────────────────────────────────────┴──> AcceptStream
type streamed struct {
	secured
	own      identity.NodeID
	token    token
	registry *registry // of the side that was dialled
	most     int       // streams at a time, of that side
	// dial makes a stream, of the side that dialled, and returns the answer.
	dial func(context.Context, *stream) (byte, error)

	mu      sync.Mutex // guards what follows
	over    error      // why no more streams are opened or accepted
	asked   bool       // AcceptStream was called
	pending map[*stream]context.CancelCauseFunc
	live    map[*stream]struct{}
	waiting []*stream     // those of live that wait for AcceptStream
	wake    chan struct{} // closed when waiting or over changes; nil: nobody waits
}

var _ conn.StreamConn = (*streamed)(nil)

// Features tells of streams on the side that can open them.
func (c *streamed) Features() conn.Features {
	return conn.Features{Reliable: true, Streams: c.dial != nil}
}

// Read ends AcceptStream when the connection has ended.
func (c *streamed) Read(p []byte) (int, error) {
	n, err := c.secured.Read(p)
	if err == io.EOF {
		c.finish(errHungUp)
	} else if err != nil && !isTimeout(err) {
		c.finish(err)
	}
	return n, err
}

// Close closes the streams, too.
func (c *streamed) Close(cause error) error {
	err := c.secured.Close(cause)
	cause = c.why(conn.ErrClosed)
	c.mu.Lock()
	c.over = cause
	pending, live := c.pending, c.live
	for _, s := range c.waiting {
		close(s.left)
	}
	c.pending, c.live, c.waiting = nil, nil, nil
	c.changed()
	c.mu.Unlock()
	for _, cancel := range pending {
		cancel(cause)
	}
	for s := range live {
		s.abort(cause)
	}
	if c.registry != nil {
		c.registry.remove(c.token)
	}
	return err
}

// finish lets no more streams come.
func (c *streamed) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over == nil {
		c.over = err
	}
	c.changed()
}

// changed wakes AcceptStream. Callers hold mu.
func (c *streamed) changed() {
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// suspect looks whether the other end has hung up, where the system tells: it
// ends AcceptStream while nobody reads the connection.
func (c *streamed) suspect() {
	if hungUp(c.wire.Conn) {
		c.finish(errTorn)
	}
}

// OpenStream dials the address of the connection once more. It takes some three
// round trips, and the work of a handshake at both ends.
func (c *streamed) OpenStream(ctx context.Context) (net.Conn, error) {
	if c.dial == nil {
		return nil, errNotDialled
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &stream{owner: c, own: c.own}
	if err := c.begin(s, cancel); err != nil {
		return nil, err
	}
	answer, err := c.dial(ctx, s)
	if err == nil {
		err = refusal(answer)
	}
	if err = c.settle(s, err); err != nil {
		if s.tls.wire != nil {
			s.abort(err)
		}
		return nil, err
	}
	return s, nil
}

// begin makes room for a stream. Close cancels it until settle. How many the
// side that dialled opens is its own affair.
func (c *streamed) begin(s *stream, cancel context.CancelCauseFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over != nil:
		return c.over
	case c.registry != nil && (len(c.live)+len(c.pending) >= c.most || len(c.waiting)+len(c.pending) >= c.mayWait()):
		return errTooMany
	case c.pending == nil:
		c.pending = map[*stream]context.CancelCauseFunc{}
	}
	c.pending[s] = cancel
	return nil
}

// mayWait returns how many streams may wait for AcceptStream. Callers hold mu.
func (c *streamed) mayWait() int {
	if c.asked {
		return maxWaiting
	}
	return maxUnasked
}

// settle ends what begin began, and hands the stream to AcceptStream on the
// side that was dialled. It returns err, or why there can be no stream.
func (c *streamed) settle(s *stream, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, s)
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	if err == nil {
		err = c.over
	}
	if err != nil {
		return err
	}
	if c.live == nil {
		c.live = map[*stream]struct{}{}
	}
	c.live[s] = struct{}{}
	if c.registry != nil {
		c.waiting = append(c.waiting, s)
		c.changed()
	}
	return nil
}

// hold returns when AcceptStream has taken a stream or Close has ended it. If
// neither has happened after timeout, or when ctx ends, it takes the stream back
// and says why.
func (c *streamed) hold(ctx context.Context, s *stream, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	why := error(errUnwanted)
	select {
	case <-s.left:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, s)
	if i < 0 {
		return nil // it was taken at the same moment
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	delete(c.live, s)
	return why
}

// forget gives the room of a stream back.
func (c *streamed) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, s)
}

// AcceptStream waits for a stream that the other end opened. Before it is called
// for the first time, at most 8 wait for it, and 64 from then on; more are
// refused. One that has waited for the handshake timeout of the listener ends, and
// until it is taken it counts as a handshake of that: see [Handshakes]. That the
// connection has ended is noticed by Read, or when a stream breaks.
func (c *streamed) AcceptStream(ctx context.Context) (net.Conn, error) {
	for {
		s, wake, err := c.next()
		if s != nil {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *streamed) next() (*stream, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = true
	if len(c.waiting) > 0 {
		s := c.waiting[0]
		c.waiting = slices.Delete(c.waiting, 0, 1)
		close(s.left)
		return s, nil, nil
	}
	if c.over != nil {
		return nil, nil, c.over
	}
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	return nil, c.wake, nil
}
