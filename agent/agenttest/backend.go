package agenttest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// doPatience bounds how long a Do waits for its turn, so that one that is called
// from a callback, and can only wait for itself, does not hang the test.
const doPatience = 10 * time.Second

// errTurn is the error of a Do that waited too long.
var errTurn = errors.New("agenttest: Do did not get the behaviour's turn within 10s: is it called from a callback?")

// backend is the agent.Backend of the handler on a connection, or of the
// behaviour where by is zero.
type backend struct {
	rec *Recorder
	by  conn.Info
}

// Send records a message.
func (b *backend) Send(o agent.Outgoing) error {
	o.Payload = bytes.Clone(o.Payload)
	return b.rec.record(Call{By: b.by.ID, Message: o}, func() error { return b.rec.checkSend(o.To) })
}

// Do records an operation.
func (b *backend) Do(op agent.Op) error {
	r := b.rec
	c := Call{By: b.by.ID, Op: op}
	switch op.Code {
	case agent.OpDo:
		return r.do(c)
	case agent.OpCancel:
		r.cancel(c)
		return nil
	}
	return r.record(c, func() error { return r.apply(b.by, op) })
}

// Ready returns a channel that is closed when the test has changed what fails.
func (b *backend) Ready(router.Route) <-chan struct{} {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	return b.rec.ready
}

// Conns returns the open connections, the oldest first.
func (b *backend) Conns() []conn.Info {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	infos := make([]conn.Info, 0, len(b.rec.conns))
	for _, c := range b.rec.conns {
		infos = append(infos, c.info)
	}
	slices.SortFunc(infos, func(a, b conn.Info) int { return cmp.Compare(a.ID, b.ID) })
	return infos
}

// Stats returns what SetStats has set.
func (b *backend) Stats(id identity.ConnID) (conn.Stats, bool) {
	b.rec.mu.Lock()
	defer b.rec.mu.Unlock()
	if c := b.rec.conns[id]; c != nil {
		return c.stats, true
	}
	return conn.Stats{}, false
}

// record writes a call down with its answer: what Fail says, or else what apply
// returns, which is called with mu held.
func (r *Recorder) record(c Call, apply func() error) error {
	c.text = describeCall(c)
	return r.write(c, r.refusal(c), apply)
}

// write writes a call down with its answer: ErrStopped, refused, or else what
// apply returns.
func (r *Recorder) write(c Call, refused error, apply func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopped:
		c.Err = agent.ErrStopped
	case refused != nil:
		c.Err = refused
	default:
		c.Err = apply()
	}
	r.calls = append(r.calls, c)
	return c.Err
}

// refusal asks the function of FailFunc.
func (r *Recorder) refusal(c Call) error {
	r.mu.Lock()
	refuse := r.refuse
	r.mu.Unlock()
	if refuse == nil {
		return nil
	}
	return refuse(c)
}

// checkSend answers a Send as a node would. The caller holds mu.
func (r *Recorder) checkSend(to router.Route) error {
	switch to.Rule {
	case router.RuleConn:
		c := r.conns[to.Conn]
		if c == nil {
			return agent.ErrNoConn
		}
		if c.stats.ReadOnly {
			return conn.ErrReadOnly
		}
		return nil
	case router.RuleNode, router.RuleKey, router.RuleService:
		return nil
	}
	return agent.ErrNoRoute
}

// apply does what an operation asks for. The caller holds mu.
func (r *Recorder) apply(by conn.Info, op agent.Op) error {
	switch op.Code {
	case agent.OpTell, agent.OpPost:
		r.events = append(r.events, Event{From: by, Value: op.Event})
		return nil
	case agent.OpAfter:
		if by.ID != 0 && r.conns[by.ID] == nil {
			return agent.ErrNoConn
		}
		r.addTimer(timer{id: op.ID, at: r.now.Add(op.Delay), event: Event{To: by.ID, From: by, Value: op.Event}})
		return nil
	case agent.OpDial:
		return r.checkDial(op.Peer.ID)
	case agent.OpNotify, agent.OpClose, agent.OpAuthorize:
	default:
		return fmt.Errorf("agenttest: unknown operation %d", op.Code)
	}
	c := r.conns[op.Conn]
	if c == nil {
		return agent.ErrNoConn
	}
	switch op.Code {
	case agent.OpNotify:
		r.events = append(r.events, Event{To: op.Conn, From: by, Value: op.Event})
	case agent.OpAuthorize:
		c.stats.ReadOnly = false
	}
	return nil
}

// checkDial answers a Dial as a node would. The caller holds mu.
func (r *Recorder) checkDial(id identity.NodeID) error {
	if id == r.config.Self {
		return agent.ErrSelf
	}
	for _, c := range r.conns {
		if c.info.Node == id {
			return agent.ErrConnected
		}
	}
	return nil
}

// do waits for the behaviour's turn, writes the call down and runs its function.
func (r *Recorder) do(c Call) error {
	c.text = describeCall(c)
	err := r.refusal(c)
	if err == nil {
		if err = r.acquire(c.Op.Context); err == nil {
			defer r.release()
		}
	}
	if err := r.write(c, err, func() error { return nil }); err != nil {
		return err
	}
	c.Op.Func()
	return nil
}

// acquire waits for the behaviour's turn.
func (r *Recorder) acquire(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	select { // a turn that is free costs no timer
	case r.turn <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(doPatience)
	defer patience.Stop()
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.context.Done():
		return agent.ErrStopped
	case <-patience.C:
		return errTurn
	}
}

// release ends the turn.
func (r *Recorder) release() { <-r.turn }

// Turn runs f on the behaviour's turn, as a node runs callbacks: a Do on another
// goroutine waits until f returns. Tests of behaviours that start goroutines call
// callbacks in it; others need not.
func (r *Recorder) Turn(f func()) {
	r.turn <- struct{}{}
	defer r.release()
	f()
}
