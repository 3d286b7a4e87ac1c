package rpc

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/router"
)

// An origin is where a call came from.
type origin struct {
	id       uint64
	node     identity.NodeID
	service  identity.ServiceID
	direct   bool // node is at the other end of conn
	conn     identity.ConnID
	deadline time.Time // when the caller gives up
}

// origin returns where a request came from, with the deadline of one that does
// not say its own.
func (h *host) origin(m *conn.Message, id uint64) origin {
	return origin{id: id, node: m.From, service: m.FromService, conn: m.Conn, direct: m.Hops == 1, deadline: h.env.Now().Add(defaultTimeout)}
}

func (o *origin) key() callKey { return callKey{o.node, o.service, o.id} }

// overConn returns an answer that goes back over the connection that the request
// came in on.
func (o *origin) overConn(payload []byte) agent.Outgoing {
	return agent.Outgoing{To: router.ToConn(o.conn).At(o.service), Kind: kindAnswer, Payload: payload, ToBehavior: true}
}

// byRoute returns an answer that goes to the caller's node, wherever it is.
func (o *origin) byRoute(payload []byte) agent.Outgoing {
	return agent.Outgoing{To: router.ToNode(o.node).At(o.service), Kind: kindAnswer, Payload: payload, ID: o.id, Report: true}
}

// buffers holds requests being served and answers being made.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// keep gives a buffer back, with what it has grown to.
func keep(buf *[]byte, grown []byte) {
	if cap(grown) > cap(*buf) && cap(grown) <= maxKept {
		*buf = grown
	}
	buffers.Put(buf)
}

// A serving is a call that is being served, and the context of its function.
// Context values may be held on to for as long as somebody likes, so that a
// serving is never used twice; to be cheap it makes its channel and its timer
// only when somebody asks for them.
type serving struct {
	origin
	host    *host
	method  *method
	body    []byte      // the request
	buf     *[]byte     // what holds body, if it is the serving's own
	number  uint64      // of all that the Server has admitted; zero: not counted by it
	claimed atomic.Bool // somebody has decided how the call ends

	mu    sync.Mutex // guards what follows; never held while calling out
	err   error      // why the context has ended
	done  chan struct{}
	timer env.Timer
	after []*func()
}

// claim returns true to the first who wants to decide how the call ends.
func (s *serving) claim() bool { return s.claimed.CompareAndSwap(false, true) }

// hold copies the request.
func (s *serving) hold(body []byte) {
	s.buf = buffers.Get().(*[]byte)
	s.body = append((*s.buf)[:0], body...)
}

// drop gives the request back.
func (s *serving) drop() {
	if s.buf != nil {
		keep(s.buf, s.body)
		s.buf = nil
	}
	s.body = nil
}

// invoke calls the function. A panic becomes errExited.
func (s *serving) invoke(dst []byte) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
			out, err = dst, errExited
		}
	}()
	return s.method.serve(s, dst)
}

// panicked logs a panic of the function.
func (s *serving) panicked(v any) {
	s.host.Log().Error("rpc: served function panicked", "method", s.method.name, "from", s.node.Short(), "panic", v, "stack", string(debug.Stack()))
}

// onTurn wraps a function so that it runs on the behaviour's turn.
func onTurn[Req, Res any](f func(context.Context, Req) (Res, error)) func(context.Context, Req) (Res, error) {
	type result struct {
		res Res
		err error
	}
	return func(ctx context.Context, req Req) (Res, error) {
		s := ctx.(*serving)
		done := make(chan result, 1)
		err := s.host.Do(ctx, func() {
			r := result{err: errExited}
			defer func() {
				if v := recover(); v != nil {
					s.panicked(v)
				}
				done <- r
			}()
			if r.err = ctx.Err(); r.err == nil {
				r.err = errExited
				r.res, r.err = f(ctx, req)
			}
		})
		select {
		case r := <-done:
			return r.res, r.err
		default: // it has not run, or the call has ended before it did
		}
		if errors.Is(err, agent.ErrStopped) {
			err = &Error{Code: Stopped, crosses: true}
		}
		var none Res
		return none, err
	}
}

// Deadline returns when the caller gives up.
func (s *serving) Deadline() (time.Time, bool) { return s.deadline, true }

// Done returns a channel that is closed when the call has ended.
func (s *serving) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.err != nil {
			close(s.done)
		}
		s.watch()
	}
	return s.done
}

// watch lets a timer end the context, now that somebody waits for that. The
// caller holds mu.
func (s *serving) watch() {
	if s.err == nil && s.timer == nil {
		s.timer = s.host.env.AfterFunc(s.deadline.Sub(s.host.env.Now()), func() { s.end(context.DeadlineExceeded) })
	}
}

// Err returns why the call has ended, nil if it has not.
func (s *serving) Err() error {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err == nil && !s.host.env.Now().Before(s.deadline) {
		s.end(context.DeadlineExceeded)
		return s.Err()
	}
	return err
}

// Value returns the serving itself, for CallerFrom, and the environment.
func (s *serving) Value(key any) any {
	if _, ok := key.(servingKey); ok {
		return s
	}
	return s.host.about.Value(key)
}

// AfterFunc arranges for f to be called when the call has ended. Package
// context uses it, which saves it a goroutine for each derived context.
func (s *serving) AfterFunc(f func()) (stop func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.host.env.Go(f)
		return func() bool { return false }
	}
	s.after = append(s.after, &f)
	s.watch()
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.Index(s.after, &f)
		if i < 0 {
			return false
		}
		s.after = slices.Delete(s.after, i, i+1)
		return true
	}
}

// end ends the context. Calls after the first do nothing.
func (s *serving) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	if s.done != nil {
		close(s.done)
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, f := range after {
		s.host.env.Go(*f)
	}
}

type servingKey struct{}

// A Caller is who made a call.
type Caller struct {
	Node    identity.NodeID    // the calling node, authenticated
	Service identity.ServiceID // its service that made the call
	Conn    identity.ConnID    // the connection that the call came in on; zero: made on this node
	Method  string
}

// CallerFrom returns who made the call that a function serves, from the context
// that the function was called with or one derived from it.
func CallerFrom(ctx context.Context) (Caller, bool) {
	s, ok := ctx.Value(servingKey{}).(*serving)
	if !ok {
		return Caller{}, false
	}
	return Caller{s.node, s.service, s.conn, s.method.name}, true
}
