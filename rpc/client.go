package rpc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/router"
)

// defaultTimeout bounds calls that nothing else bounds.
const defaultTimeout = 10 * time.Second

// defaultPending is the default of [Client.MaxPending].
const defaultPending = 1 << 17

// maxKept is the largest buffer that is kept for other calls.
const maxKept = 64 << 10

// A Client makes calls for the behaviour that embeds or holds it, or, made by
// [NewClient], is a behaviour by itself. The zero Client is ready. Methods may
// be called from any goroutine once the behaviour has started.
//
// A behaviour has one Client or one [Server], which has a Client in it. Its
// exported methods from Parts on are for the runtime to call.
type Client struct {
	// MaxPending bounds the calls that wait for their answers; one more fails
	// with Overloaded. Set it before the behaviour starts. Default 131072.
	MaxPending int

	private bool
	host    atomic.Pointer[host] // nil: not running
	ids     sequence
	pending table
	answers answers
	turn    turnQueue
	counts  counts
	unwatch func() bool // forgets to stop when the context of the agent ends
}

// counts are the counters behind [Stats].
type counts struct {
	calls, served, late, forged, malformed, refused, unknown, lost, resent atomic.Uint64
}

// Stats counts what a Client, or the Server that it is in, has done.
type Stats struct {
	Pending int // calls that wait for their answers now
	Serving int // calls that are served in goroutines now

	Calls   uint64 // calls sent
	Late    uint64 // answers to calls that had ended, ignored
	Forged  uint64 // answers from a node, or over a connection, that was not asked, ignored
	Served  uint64 // calls of which the function has run
	Refused uint64 // calls refused because of a limit
	Unknown uint64 // calls of methods that there are not
	Resent  uint64 // answers sent again, because they found no way to the caller
	Lost    uint64 // answers that are known not to have reached their caller in time

	Malformed uint64 // messages that are no calls or answers
}

// NewClient makes a Client to be registered as a behaviour by itself, which
// other nodes are not told of:
//
//	client := rpc.NewClient()
//	err := node.Register(90, client)
func NewClient() *Client { return &Client{private: true} }

// CallRaw is [Method.Call] of a method by name, with payloads as they are. The
// result is the caller's. The payload is not used after CallRaw returns.
func (c *Client) CallRaw(ctx context.Context, to router.Route, method string, payload []byte) ([]byte, error) {
	k, err := c.begin(ctx, method, to, 0)
	if err != nil {
		return nil, err
	}
	defer k.release()
	k.out = append(k.out, payload...)
	kept := k.in
	k.in = nil // what comes in is made for the caller of this call
	if err := c.await(ctx, k); err != nil {
		return nil, err
	}
	in := k.in
	k.in = kept
	return in, nil
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	n := &c.counts
	return Stats{Pending: int(c.pending.count.Load()), Calls: n.calls.Load(), Late: n.late.Load(), Forged: n.forged.Load(), Served: n.served.Load(),
		Refused: n.refused.Load(), Unknown: n.unknown.Load(), Resent: n.resent.Load(), Lost: n.lost.Load(), Malformed: n.malformed.Load()}
}

// begin prepares a call: its ID, and the header of its request. own is the
// time-out of the method, zero if it has none.
func (c *Client) begin(ctx context.Context, method string, to router.Route, own time.Duration) (*call, error) {
	h := c.host.Load()
	if h == nil {
		return nil, &Error{Code: Stopped, Method: method, Text: "the behaviour of this client is not running; register it with a node that runs"}
	}
	if len(method) == 0 || len(method) > maxName {
		return nil, &Error{Code: NoMethod, Method: method, Text: "names of methods have 1 to 64 bytes"}
	}
	if err := env.Err(ctx); err != nil {
		return nil, &Error{Code: endCode(err), Method: method, Err: context.Cause(ctx)}
	}
	left, timed := own, true
	if left == 0 {
		left = defaultTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		if d := deadline.Sub(h.env.Now()); own == 0 || d <= own {
			left, timed = d, false
		}
	}
	k, _ := h.calls.Get().(*call)
	if k == nil {
		k = newCall(h)
	}
	k.number, k.id = c.ids.next(&k.scratch)
	k.method, k.to, k.left, k.timed = method, to, left, timed
	k.service = to.Service
	if k.service == 0 {
		k.service = h.Service()
	}
	k.out = appendRequest(k.out[:0], k.id, left, method)
	return k, nil
}

// endCode returns the code for the error of a context.
func endCode(err error) Code {
	if errors.Is(err, context.DeadlineExceeded) {
		return Timeout
	}
	return Canceled
}

// await sends a call and waits until it has ended.
func (c *Client) await(ctx context.Context, k *call) error {
	if code := c.pending.add(k, c.maxPending()); code != 0 {
		return k.fail(code, c.refusal(code))
	}
	if err := c.send(ctx, k); err != nil {
		if c.pending.drop(k.id) {
			if ended := env.Err(ctx); ended != nil {
				return k.fail(endCode(ended), err)
			}
			return k.fail(codeOf(err), err)
		}
		return k.wait()
	}
	c.counts.calls.Add(1)
	var expired <-chan struct{}
	if k.timed {
		expired = k.expired
		k.timer = rearm(k.host.env, k.timer, k.left, k.expire)
		defer k.disarm()
	}
	switch k.host.env.Wait(k.done, expired, ctx.Done()) {
	case 0:
		return k.result()
	case 1:
		return c.abandon(k, Timeout, context.DeadlineExceeded)
	}
	return c.abandon(k, endCode(env.Err(ctx)), context.Cause(ctx))
}

func (c *Client) maxPending() int {
	if c.MaxPending > 0 {
		return c.MaxPending
	}
	return defaultPending
}

// refusal explains why the table took no call.
func (c *Client) refusal(code Code) error {
	if code == Overloaded {
		return errors.New("as many calls as Client.MaxPending allows wait for their answers")
	}
	return agent.ErrStopped
}

// outgoing returns the request as a message.
func (k *call) outgoing() agent.Outgoing {
	return agent.Outgoing{To: k.to, Kind: kindRequest, Payload: k.out, ID: k.id, Report: true, ToBehavior: k.to.Rule == router.RuleConn}
}

// send sends the request, waiting while the receiver does not keep up.
func (c *Client) send(ctx context.Context, k *call) error {
	err := k.host.SendMessage(k.outgoing())
	if !errors.Is(err, agent.ErrQueueFull) {
		return err
	}
	e := k.host.env
	start := e.Now()
	ctx, cancel := env.WithTimeout(e, ctx, k.left)
	defer cancel()
	err = k.host.SendMessageWait(ctx, k.outgoing())
	k.left -= e.Now().Sub(start)
	return err
}

// abandon ends a call whose caller waits no longer, unless it has just ended by
// itself.
func (c *Client) abandon(k *call, code Code, cause error) error {
	if !c.pending.drop(k.id) {
		return k.wait()
	}
	if code == Canceled {
		// The server ends calls at their deadline by itself. A cancel that is
		// lost costs it the rest of the time.
		o := k.outgoing()
		o.Kind, o.Report, o.ID = kindCancel, false, 0
		k.out = appendCancel(k.out[:0], k.id)
		o.Payload = k.out
		_ = k.host.SendMessage(o)
	}
	return k.fail(code, cause)
}

// launch sends a call of Go, whose finish is set. An error means that finish
// will never be called.
func (c *Client) launch(k *call) error {
	id := k.id // k belongs to others as soon as it is in the table
	k.expiry = k.host.env.AfterFunc(k.left, func() {
		c.settle(id, anyone, func(k *call) { k.code, k.err = Timeout, context.DeadlineExceeded })
	})
	expiry, o := k.expiry, k.outgoing()
	if code := c.pending.add(k, c.maxPending()); code != 0 {
		expiry.Stop()
		return k.fail(code, c.refusal(code))
	}
	if err := k.host.SendMessage(o); err != nil && c.pending.drop(id) {
		expiry.Stop()
		return k.fail(codeOf(err), err)
	}
	c.counts.calls.Add(1)
	return nil
}

// anyone accepts any call.
func anyone(*call) bool { return true }

// settle takes a call out of the table if accept agrees, lets end write down
// how it ended, and hands it to its caller. It returns whether it did, and
// whether there was such a call.
func (c *Client) settle(id uint64, accept func(*call) bool, end func(*call)) (done, found bool) {
	s := c.pending.shard(id)
	s.mu.Lock()
	k := s.calls[id]
	if k == nil || !accept(k) {
		s.mu.Unlock()
		return false, k != nil
	}
	delete(s.calls, id)
	end(k)
	waits := k.finish == nil
	if !waits {
		c.turn.push(k) // under the lock: PartStop finds what it does not find here
	}
	s.mu.Unlock()
	c.pending.count.Add(-1)
	if waits {
		k.done <- struct{}{}
	}
	return true, true
}

// settleAll is settle for all calls that accept agrees to, in the order in which
// they began.
func (c *Client) settleAll(accept func(*call) bool, end func(*call), stop bool) {
	type begun struct{ number, id uint64 }
	var all []begun
	for i := range c.pending.shards {
		s := &c.pending.shards[i]
		s.mu.Lock()
		if stop {
			s.open = false
		}
		for id, k := range s.calls {
			if accept(k) {
				all = append(all, begun{k.number, id})
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b begun) int { return cmp.Compare(a.number, b.number) })
	for _, k := range all {
		c.settle(k.id, anyone, end)
	}
}

// Take takes the messages that belong to calls. It runs on the goroutine that
// they arrive on.
func (c *Client) Take(a *agent.Behavior, m *conn.Message) bool {
	switch m.Kind {
	case kindAnswer:
		c.answer(m)
	case kindRequest:
		if id, _, _, ok := parseID(m.Payload); ok {
			c.counts.unknown.Add(1)
			h := c.on(a)
			o := h.origin(m, id)
			c.fail(h, &o, NoMethod, "")
		}
	case kindCancel:
	default:
		return false
	}
	return true
}

// answer ends the call that an answer is for.
func (c *Client) answer(m *conn.Message) {
	id, header, payload, ok := parseID(m.Payload)
	code, known := parseAnswer(header)
	if !ok || !known {
		c.counts.malformed.Add(1)
		return
	}
	done, found := c.settle(id, func(k *call) bool { return k.asked(m) }, func(k *call) {
		if code == 0 {
			k.in = append(k.in[:0], payload...)
			return
		}
		k.code, k.node, k.text = code.answered(), m.From, capText(string(payload[:min(len(payload), maxText)]))
	})
	switch {
	case !found:
		c.counts.late.Add(1)
	case !done:
		c.counts.forged.Add(1)
	}
}

// PartStart makes the client ready.
func (c *Client) PartStart(a *agent.Behavior) {
	h := newHost(a)
	c.start(h)
	c.unwatch = h.env.OnDone(a.Context(), c.stop)
}

func (c *Client) start(h *host) {
	c.ids.start(h.Rand())
	c.turn.start(h)
	c.pending.start()
	c.answers.start()
	c.host.Store(h)
}

// PartStop ends all calls with Stopped. A behaviour that panics is not told that
// it stops, but the context of its agent ends, with the same result.
func (c *Client) PartStop(*agent.Behavior) {
	if c.unwatch == nil {
		return // it has not started
	}
	c.unwatch()
	c.stop()
	c.turn.run()
}

func (c *Client) stop() {
	c.host.Store(nil)
	c.counts.lost.Add(c.answers.stop())
	c.settleAll(anyone, func(k *call) { k.code, k.err = Stopped, agent.ErrStopped }, true)
}

// PartDisconnect ends the calls that were sent to or over a connection that has
// ended with ConnClosed. Where another connection to the same node has taken its
// place, calls to the node go on.
func (c *Client) PartDisconnect(_ *agent.Behavior, lost conn.Info, cause error) {
	replaced := errors.Is(cause, conn.CodeReplaced)
	c.settleAll(func(k *call) bool { return k.uses(lost, replaced) }, func(k *call) { k.code, k.err = ConnClosed, cause }, false)
}

// PartReport ends the call whose request was not delivered, and has an answer
// that was not delivered sent again.
func (c *Client) PartReport(_ *agent.Behavior, r agent.Report) {
	switch r.Kind {
	case kindRequest:
		c.settle(r.ID, func(k *call) bool { return r.To == k.service }, func(k *call) {
			k.code, k.node, k.err = codeOf(r.Failure), r.From, r.Failure
		})
	case kindAnswer:
		c.undelivered(r)
	}
}

// Parts returns the client itself.
func (c *Client) Parts() []behavior.Part { return []behavior.Part{c} }

// Describe describes a Client that is a behaviour by itself, or a behaviour that
// embeds one and does not describe itself.
func (c *Client) Describe() behavior.Info { return behavior.Info{Private: c.private} }

// OnMessage ignores messages that are no calls. Behaviours that embed a Client
// or Server and have messages of their own define theirs.
func (c *Client) OnMessage(a *agent.Behavior, m *conn.Message) {
	a.Log().Debug("message ignored", "kind", m.Kind, "from", m.From.Short())
}
