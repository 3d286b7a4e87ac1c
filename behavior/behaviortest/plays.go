package behaviortest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A play is something that a behaviour is put through, in a bubble of its own.
type play struct {
	name string
	run  func(*findings, subject)
}

// plays are all of them. Growth is last: it measures nothing worth knowing of a
// behaviour that fails otherwise.
var plays = []play{
	{"descriptions", describe},
	{"life", life},
	{"disorder", disorder},
	{"refusals", refusals},
	{"messages to parts at the same time", together},
	{"many connections", many},
}

// describe compares what two behaviours, and one twice, say of themselves.
func describe(found *findings, s subject) {
	d := newDriver(found, "descriptions", s)
	if d == nil {
		return
	}
	defer d.end()
	if n := len(d.info.Name); n > 64 {
		found.add(ruleDescribe, "the name has %d bytes: %q", n, d.info.Name)
	}
	if d.info.Tick < 0 || d.info.MaxQueue < 0 || d.info.Window < 0 {
		found.add(ruleDescribe, "negative: %+v", d.info)
	}
	if d.hooks.tick != nil && d.info.Tick == 0 {
		found.add(ruleDescribe, "OnTick never runs: Describe gives no Tick")
	}
	for _, b := range []behavior.Behavior{d.b, s.fresh()} {
		if x, ok := behavior.As[behavior.Describer](b); ok {
			if again := x.Describe(); again != d.info {
				found.add(ruleDescribe, "first %+v, then %+v", d.info, again)
			}
		}
	}
}

// repeats is how often the play of life is repeated with each seed.
const repeats = 3

// life plays ordinary and hostile lives, each several times at other times of the
// bubble's clock, and compares what was asked for.
func life(found *findings, s subject) {
	for seed := range uint64(3) {
		var first []string
		for n := range repeats {
			d := newDriver(found, fmt.Sprintf("life with seed %d", seed), s)
			if d == nil {
				return
			}
			d.live(rand.New(rand.NewPCG(seed, 0)))
			d.end()
			if d.broken {
				return
			}
			if n == 0 {
				first = d.trace
			} else if diff := difference(first, d.trace); diff != "" {
				found.add(ruleDeterminism, "%s, %s", d.play, diff)
				return
			}
			time.Sleep(1234*time.Hour + 56789*time.Microsecond + 123*time.Nanosecond)
		}
	}
}

// difference says where two traces part.
func difference(a, b []string) string {
	callback := "the beginning"
	for i := range max(len(a), len(b)) {
		at := func(trace []string) string {
			if i < len(trace) {
				return trace[i]
			}
			return "nothing"
		}
		if at(a) != at(b) {
			return fmt.Sprintf("after %s:\none run:     %s\nanother run: %s", callback, at(a), at(b))
		}
		if a[i][0] != '\t' {
			callback = a[i]
		}
	}
	return ""
}

// steps is the length of a life.
const steps = 150

// names are those of the nodes that connect.
var names = []string{"alice", "bob", "carol", "dave", "erin", "frank"}

// live plays a life.
func (d *driver) live(r *rand.Rand) {
	if !d.start() {
		return
	}
	d.open(r)
	for i := 0; i < steps && !d.broken; i++ {
		d.step(r)
	}
	d.message(d.draw(r))
	d.advance(time.Minute)
	d.stop()
}

// step does something that can happen to a behaviour.
func (d *driver) step(r *rand.Rand) {
	switch r.IntN(16) {
	case 0, 1:
		if len(d.links) < 8 {
			d.open(r)
		}
	case 2:
		if n := len(d.links); n > 0 {
			d.disconnect(d.links[r.IntN(n)], cause(r))
		}
	case 3:
		d.tick()
	case 4:
		d.advance([]time.Duration{0, time.Millisecond, time.Second, 10 * time.Second, time.Minute}[r.IntN(5)])
	case 5:
		peer := identity.PeerAddress{ID: agenttest.Node(names[r.IntN(len(names))]), Addresses: []identity.Address{{Scheme: "mem", Host: "x"}}}
		d.dialError(conn.Dial{Peer: peer}, cause(r))
	case 6:
		d.report(d.drawReport(r))
	default:
		d.message(d.draw(r))
	}
}

// failures are those of reports.
var failures = []error{agent.ErrNoRoute, agent.ErrNoService, agent.ErrQueueFull, agent.ErrTooLarge}

// drawReport makes a report on a message, mostly one that was never sent.
func (d *driver) drawReport(r *rand.Rand) agent.Report {
	kind, _ := d.corpus.message(r)
	if r.IntN(2) == 0 {
		kind = conn.KindReserved + conn.Kind(r.IntN(8))
	}
	return agent.Report{ID: uint64(r.IntN(100)), Kind: kind, To: 70, From: agenttest.Node("erin"), Failure: failures[r.IntN(len(failures))]}
}

// open connects a node that has no connection, or sometimes one that has.
func (d *driver) open(r *rand.Rand) {
	node := agenttest.Node(names[r.IntN(len(names))])
	d.connect(conn.Info{Node: node, Direction: conn.Direction(1 + r.IntN(2))})
}

// cause draws why a connection ends.
func cause(r *rand.Rand) error {
	causes := []error{nil, io.EOF, conn.ErrClosed, &conn.CloseError{Code: conn.CodeTimeout},
		&conn.CloseError{Code: conn.CodeRejected, Reason: "\xff\x00 %s", Remote: true}, errors.New("cable cut")}
	return causes[r.IntN(len(causes))]
}

// draw makes a message: direct on a connection, or routed from elsewhere.
func (d *driver) draw(r *rand.Rand) (m conn.Message, direct bool) {
	kind, p := d.corpus.message(r)
	m = conn.Message{Service: 70, FromService: 70, Kind: kind, Payload: p}
	if r.IntN(20) == 0 {
		m.FromService = identity.ServiceID(1 + r.IntN(0xffff))
	}
	if len(d.links) == 0 || r.IntN(8) == 0 { // from a service of this node
		m.From = d.rec.Behavior().Self()
		return m, false
	}
	l := d.links[r.IntN(len(d.links))]
	m.Conn, m.From, m.Hops = l.info.ID, l.info.Node, 1
	switch r.IntN(4) {
	case 0: // over other nodes
		m.From, m.Hops = agenttest.Node("far"), uint8(2+r.IntN(254))
		return m, false
	case 1: // from the neighbour, but to the behaviour
		return m, false
	}
	return m, true
}

// disorder plays what the runtime promises not to do, or hardly ever does.
func disorder(found *findings, s subject) {
	alice := conn.Info{ID: 999, Node: agenttest.Node("alice"), Direction: conn.Incoming}
	if d := newDriver(found, "OnStop without OnStart: another behaviour could not start", s); d != nil {
		d.stop()
		d.end()
	}
	if d := newDriver(found, "OnStop twice", s); d != nil {
		if d.start() {
			d.connect(conn.Info{})
			d.stop()
			d.stop()
		}
		d.end()
	}
	d := newDriver(found, "OnDisconnect of a connection that never was", s)
	if d == nil {
		return
	}
	defer d.end()
	if d.start() {
		d.disconnected(alice, io.EOF)
		d.play = "OnDisconnect twice"
		if l := d.connect(conn.Info{Node: alice.Node}); l != nil {
			d.disconnect(l, nil)
			d.disconnected(l.info, nil)
		}
		d.stop()
	}
}

// refused are the errors that operations are refused with.
var refused = []error{agent.ErrNoRoute, agent.ErrNoConn, agent.ErrNoService, agent.ErrNoHandler, agent.ErrQueueFull,
	agent.ErrTooLarge, agent.ErrStopped, agent.ErrConnected, conn.ErrReadOnly, errors.New("behaviortest: refused")}

// refusals plays lives in which operations are refused: all of them, all after
// OnStart, or some.
func refusals(found *findings, s subject) {
	for _, err := range refused {
		always := func() error { return err }
		refuse(found, s, fmt.Sprintf("everything is refused with %q", err), steps/10, always, always)
		refuse(found, s, fmt.Sprintf("everything after OnStart is refused with %q", err), steps/2, nil, always)
	}
	for seed := range uint64(3) {
		var mu sync.Mutex // guards r: goroutines of the behaviour ask too
		r := rand.New(rand.NewPCG(seed, 1))
		refuse(found, s, fmt.Sprintf("some operations are refused, seed %d", seed), steps, nil, func() error {
			mu.Lock()
			defer mu.Unlock()
			if r.IntN(3) > 0 {
				return nil
			}
			return refused[r.IntN(len(refused))]
		})
	}
}

// refuse plays a life of n steps in which operations are answered as atStart and,
// after OnStart, later say.
func refuse(found *findings, s subject, name string, n int, atStart, later func() error) {
	d := newDriver(found, name, s)
	if d == nil {
		return
	}
	defer d.end()
	r := rand.New(rand.NewPCG(5, 5))
	d.refuse = atStart
	if !d.start() {
		return
	}
	d.open(r)
	d.refuse = later
	for i := 0; i < n && !d.broken; i++ {
		d.step(r)
	}
	d.stop()
}

// together calls the parts on several goroutines beside the behaviour's turn, for
// the race detector to watch.
func together(found *findings, s subject) {
	d := newDriver(found, "messages to parts at the same time", s)
	if d == nil {
		return
	}
	defer d.end()
	d.fast, d.loose = true, true
	if len(d.parts) == 0 || !d.start() {
		return
	}
	r := rand.New(rand.NewPCG(9, 9))
	d.open(r)
	var all sync.WaitGroup
	for range 4 {
		messages, reports := make([]conn.Message, 100), make([]agent.Report, 100)
		for i := range messages {
			messages[i], _ = d.draw(r)
			reports[i] = d.drawReport(r)
		}
		all.Go(func() {
			if p, stack := d.inCallback(func() { d.toParts(messages, reports) }); p != nil {
				found.add(rulePanic, "a part panicked (%s): %s", d.play, panicked(p, stack))
			}
		})
	}
	for range 20 {
		d.tick()
		d.advance(time.Second)
	}
	all.Wait()
	d.loose = false
	synctest.Wait()
	d.stop()
}

// toParts gives the parts messages, and reports and lost connections between them.
func (d *driver) toParts(messages []conn.Message, reports []agent.Report) {
	a := d.rec.Behavior()
	for i := range messages {
		for _, p := range d.parts {
			if p.Take(a, &messages[i]) {
				break
			}
		}
		for _, w := range d.watch {
			if reports[i].Kind >= conn.KindReserved {
				w.PartReport(a, reports[i])
			}
			if i%10 == 0 {
				w.PartDisconnect(a, conn.Info{ID: identity.ConnID(1000 + i), Node: agenttest.Node("frank")}, io.EOF)
			}
		}
	}
}

// The sizes of the play of many connections, and how many bytes of each may stay.
const (
	warmup      = 1000
	windows     = 3
	growthLimit = 6
)

// many connects and disconnects very often and measures what stays in memory.
func many(found *findings, s subject) {
	if testing.Short() {
		found.skip(ruleGrowth, "not measured with -short")
		return
	}
	d := newDriver(found, "many connections", s)
	if d == nil {
		return
	}
	d.fast = true
	defer d.end()
	if !d.start() {
		return
	}
	d.churn(warmup)
	left := d.growth(1000)
	if left > 0 { // more exactly, before anybody is blamed
		left = d.growth(5000)
	}
	if left > 0 && !d.broken {
		found.add(ruleGrowth, "connections of %d nodes came and went, and left %d bytes each", len(names), left)
	}
	d.stop()
}

// growth returns how many bytes each of the next connections leaves, 0 if it is
// too little to tell, or all of it in one window: caches fill once, and maps grow in
// steps.
func (d *driver) growth(perWindow int64) int64 {
	total, grew := int64(0), 0
	for range windows {
		before := heap()
		d.churn(int(perWindow))
		grown := heap() - before
		total += grown
		if grown >= perWindow*growthLimit/4 {
			grew++
		}
	}
	if grew < 2 || total < windows*perWindow*growthLimit {
		return 0
	}
	return total / (windows * perWindow)
}

// churn opens and closes connections, of a few nodes.
func (d *driver) churn(n int) {
	for i := 0; i < n && !d.broken; i++ {
		l := d.connect(conn.Info{Node: agenttest.Node(names[i%len(names)]), Direction: conn.Incoming})
		if l != nil {
			d.disconnect(l, io.EOF)
		}
		if i%100 == 99 {
			d.tick()
			d.advance(10 * time.Minute)
		}
	}
}

// heap returns the bytes in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first may have left finalizers and pools behind
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
