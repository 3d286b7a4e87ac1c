package rpc

import (
	"errors"
	"sync"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// Bounds of the answers that are kept. Answers beyond them are sent once.
const (
	maxAnswers     = 4096
	maxAnswerBytes = 4 << 20
)

// When answers are sent again.
const (
	keepAnswer  = 2 * time.Second        // no report for so long: it has arrived
	resendFirst = 100 * time.Millisecond // doubled each time, up to resendMost
	resendMost  = time.Second
	resendFor   = time.Minute // at most, however late the deadline is
)

// answers keeps the answers that go by route for as long as somebody may report
// that they were not delivered. Reports are not authenticated: one who knows the
// ID of a call can have its answer sent again, about 60 times at most, or not
// sent again; a caller ignores all answers but the first.
type answers struct {
	mu    sync.Mutex // guards what follows; never held while calling out
	open  bool
	kept  map[answerKey]*answer
	bytes int
}

// answerKey is what a report tells of an answer.
type answerKey struct {
	service identity.ServiceID // the caller's
	id      uint64
}

// An answer is one that goes by route, and may have to go again.
//
//	keep --> underway --> sent --> forgotten, after keepAnswer
//	            ^    \      |
//	     resend |     \     | a report, or no way from here
//	            |      v    v
//	            +------ delayed --> forgotten and counted, at the deadline
type answer struct {
	host    *host
	origin  origin
	payload []byte
	state   answerState
	delay   time.Duration // before it is sent the next time
	until   time.Time     // it is not sent again after that
	timer   env.Timer     // forgets an answer that is sent, or sends one that is delayed
}

type answerState uint8

const (
	underway answerState = iota // somebody is about to send it
	sent
	delayed
)

func (o *origin) answerKey() answerKey { return answerKey{o.service, o.id} }

// noWay reports whether an answer that failed may arrive another time.
func noWay(err error) bool {
	return errors.Is(err, agent.ErrNoRoute) || errors.Is(err, agent.ErrNoConn) || errors.Is(err, agent.ErrQueueFull)
}

// start makes room for answers.
func (q *answers) start() {
	q.mu.Lock()
	q.open = true
	q.kept = make(map[answerKey]*answer)
	q.mu.Unlock()
}

// stop forgets all answers, and returns how many of them are known not to have
// arrived.
func (q *answers) stop() (lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, an := range q.kept {
		if an.timer != nil {
			an.timer.Stop()
		}
		if an.state == delayed {
			lost++
		}
	}
	q.open, q.kept, q.bytes = false, nil, 0
	return lost
}

// keep copies an answer that is about to be sent. nil: it is not kept.
func (q *answers) keep(h *host, o *origin, payload []byte) *answer {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open || len(q.kept) >= maxAnswers || q.bytes+len(payload) > maxAnswerBytes || q.kept[o.answerKey()] != nil {
		return nil
	}
	an := &answer{host: h, origin: *o, payload: append([]byte(nil), payload...), delay: resendFirst, until: o.deadline}
	if last := h.env.Now().Add(resendFor); last.Before(an.until) {
		an.until = last
	}
	q.kept[o.answerKey()] = an
	q.bytes += len(payload)
	return an
}

// has reports whether an answer is still kept. The caller holds mu.
func (q *answers) has(an *answer) bool { return q.kept[an.origin.answerKey()] == an }

// forget gives up an answer that is kept. The caller holds mu.
func (q *answers) forget(an *answer) {
	if !q.has(an) {
		return
	}
	if an.timer != nil {
		an.timer.Stop()
	}
	delete(q.kept, an.origin.answerKey())
	q.bytes -= len(an.payload)
}

// routed notes how sending an answer by route went. An error says that it has
// failed for good.
func (c *Client) routed(an *answer, err error) error {
	q := &c.answers
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.has(an): // stopped meanwhile
		return err
	case err == nil:
		if an.state == underway { // else a report was faster
			an.state = sent
			d := min(keepAnswer, an.until.Sub(an.host.env.Now()))
			an.timer = an.host.env.AfterFunc(d, func() { c.settled(an) })
		}
		return nil
	case noWay(err):
		c.delay(an)
		return nil
	}
	q.forget(an)
	return err
}

// settled forgets an answer that nobody has reported.
func (c *Client) settled(an *answer) {
	c.answers.mu.Lock()
	defer c.answers.mu.Unlock()
	if an.state == sent {
		c.answers.forget(an)
	}
}

// undelivered hears that an answer did not arrive.
func (c *Client) undelivered(r agent.Report) {
	q := &c.answers
	q.mu.Lock()
	defer q.mu.Unlock()
	an := q.kept[answerKey{r.To, r.ID}]
	switch {
	case an == nil:
	case noWay(r.Failure):
		c.delay(an)
	default: // nobody waits for it, or it will never fit
		q.forget(an)
		c.counts.lost.Add(1)
	}
}

// delay has an answer sent again later, if there is time for it. The caller
// holds answers.mu.
func (c *Client) delay(an *answer) {
	if an.state == delayed {
		return
	}
	e := an.host.env
	if an.until.Sub(e.Now()) <= an.delay {
		c.answers.forget(an)
		c.counts.lost.Add(1)
		return
	}
	if an.timer != nil {
		an.timer.Stop()
	}
	an.state = delayed
	an.timer = e.AfterFunc(an.delay, func() { c.resend(an) })
	an.delay = min(2*an.delay, resendMost)
}

// resend sends an answer again.
func (c *Client) resend(an *answer) {
	q := &c.answers
	q.mu.Lock()
	mine := q.has(an) && an.state == delayed
	if mine {
		an.state, an.timer = underway, nil
	}
	q.mu.Unlock()
	if !mine {
		return
	}
	c.counts.resent.Add(1)
	err := an.host.SendMessage(an.origin.byRoute(an.payload))
	if c.routed(an, err) != nil {
		c.counts.lost.Add(1)
	}
}

// reply sends an answer: back over the connection that the call came in on where
// its caller is at the other end of it, which needs no routing, else by route.
func (c *Client) reply(h *host, o *origin, payload []byte, send func(agent.Outgoing) error) error {
	if o.direct && o.conn != 0 {
		err := send(o.overConn(payload))
		if !errors.Is(err, agent.ErrNoConn) && !errors.Is(err, agent.ErrNoService) && !errors.Is(err, conn.ErrReadOnly) {
			return err
		}
	}
	if o.conn == 0 {
		return send(o.byRoute(payload)) // to this node: it arrives, or is refused
	}
	an := c.answers.keep(h, o, payload)
	err := send(o.byRoute(payload))
	switch {
	case an == nil:
		return err
	case errors.Is(err, agent.ErrQueueFull): // the caller may want to wait for room
		c.answers.mu.Lock()
		c.answers.forget(an)
		c.answers.mu.Unlock()
		return err
	}
	return c.routed(an, err)
}

// fail answers a call with an error. Where that is not taken, the caller waits
// for its deadline.
func (c *Client) fail(h *host, o *origin, code Code, text string) {
	if c.reply(h, o, append(appendAnswer(nil, o.id, code), capText(text)...), h.SendMessage) != nil {
		c.counts.lost.Add(1)
	}
}
