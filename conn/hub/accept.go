package hub

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/internal/env"
)

// acceptPause is how long a listener rests after an error, such as too many open
// files.
const acceptPause = 50 * time.Millisecond

// accept takes in connections until the hub ends.
func (h *Hub) accept(l conn.Listener) {
	if h.env.Wait(h.started, h.ctx.Done(), nil) == 1 {
		return
	}
	for h.ctx.Err() == nil {
		c, err := l.Accept(h.ctx)
		if err != nil {
			if errors.Is(err, conn.ErrClosed) || h.ctx.Err() != nil {
				return
			}
			h.cfg.Log.Warn("connection not accepted", "address", l.Addr(), "err", err)
			h.pause(acceptPause)
			continue
		}
		h.goCounted(func() { h.take(c) })
	}
}

func (h *Hub) pause(d time.Duration) {
	over, cancel := env.WithTimeout(h.env, h.ctx, d)
	defer cancel()
	h.env.Wait(over.Done(), nil, nil)
}

// goCounted runs f beside the caller. Close waits for it.
func (h *Hub) goCounted(f func()) {
	h.running.add()
	h.env.Go(func() {
		defer h.running.done()
		f()
	})
}

// take moves the endpoint of a member to a connection that has come in.
func (h *Hub) take(c conn.Conn) {
	m, err := h.admitted(c)
	if err != nil {
		h.cfg.Log.Debug("connection refused", "remote", c.RemoteAddr(), "peer", c.Node().Short(), "err", err)
		h.refuse(c, err)
		return
	}
	o := h.beginOpening(c)
	defer h.endOpening(o)
	if err := h.authorize(m.ctx, conn.Peer{Node: m.id, Direction: conn.Incoming, Remote: c.RemoteAddr()}); err != nil {
		h.cfg.Log.Debug("connection refused", "remote", c.RemoteAddr(), "peer", m.id.Short(), "err", err)
		h.refuse(c, err)
		return
	}
	if err := m.ep.Carry(m.ctx, c); err != nil && !errors.Is(err, endpoint.ErrReplaced) && h.ctx.Err() == nil {
		h.cfg.Log.Debug("connection failed", "remote", c.RemoteAddr(), "peer", m.id.Short(), "err", err)
	}
}

// admitted returns the member that has connected.
func (h *Hub) admitted(c conn.Conn) (*member, error) {
	if m := h.member(c.Node()); m != nil {
		return m, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.state == isClosing:
		return nil, &conn.CloseError{Code: conn.CodeShutdown}
	case h.barred[c.Node()]:
		return nil, errBarred
	}
	return nil, errStranger
}

// authorize asks Config.Authorize.
func (h *Hub) authorize(ctx context.Context, p conn.Peer) (err error) {
	if h.cfg.Authorize == nil {
		return nil
	}
	ctx, cancel := env.WithTimeout(h.env, ctx, h.cfg.DialTime)
	defer cancel()
	err = errors.New("authorization panicked")
	h.call("Authorize", func() { err = h.cfg.Authorize(ctx, p) })
	var ce *conn.CloseError
	if err == nil || errors.As(err, &ce) {
		return err
	}
	return &conn.CloseError{Code: conn.CodeRejected, Reason: err.Error(), Err: err}
}

// maxRefusing is how many connections are told at once why they are refused.
// Further ones are closed without a word where the transport carries none.
const maxRefusing = 64

// refuse tells the other side of a connection why it is closed.
func (h *Hub) refuse(c conn.Conn, cause error) {
	h.mu.Lock()
	room := h.refusing < maxRefusing
	if room {
		h.refusing++
	}
	h.mu.Unlock()
	if !room {
		c.Close(cause)
		return
	}
	h.goCounted(func() {
		endpoint.Refuse(h.ctx, c, cause)
		h.mu.Lock()
		h.refusing--
		h.mu.Unlock()
	})
}

// An opening is a connection that has come in and is not yet established.
type opening struct{ c conn.Conn }

// beginOpening notes a connection. Where there are too many, the oldest is given
// up.
func (h *Hub) beginOpening(c conn.Conn) *opening {
	o := &opening{c}
	h.mu.Lock()
	h.opening = append(h.opening, o)
	var oldest *opening
	if len(h.opening) > h.cfg.MaxHandshakes {
		oldest = h.opening[0]
		h.opening = slices.Delete(h.opening, 0, 1)
	}
	h.mu.Unlock()
	if oldest != nil {
		oldest.c.Close(&conn.CloseError{Code: conn.CodeLimit, Reason: "too many handshakes at a time (Config.MaxHandshakes)"})
	}
	return o
}

func (h *Hub) endOpening(o *opening) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.opening, o); i >= 0 {
		h.opening = slices.Delete(h.opening, i, i+1)
	}
}

// call calls a callback of the user. A panic is logged.
func (h *Hub) call(name string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			h.cfg.Log.Error("callback panicked", "callback", name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	f()
}
