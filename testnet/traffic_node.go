package testnet

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

// The messages of a Traffic.
const (
	kindConn  conn.Kind = iota + 1 // to the handler of a connection, or the behaviour where it has none
	kindPeer                       // to the behaviour at the other end of a connection
	kindLoose                      // a datagram
	kindNode                       // to a node, however far
	kindKey                        // to a key
)

func receiverOf(k conn.Kind) string {
	if k == kindConn {
		return "the handler"
	}
	return "the behaviour"
}

// A trafficLife is the behaviour of a Traffic on one node, from a start of the
// node to its end.
type trafficLife struct {
	rpc.Server
	run     *trafficRun
	node    *Node
	number  int
	agent   *agent.Behavior
	flows   map[flowKey]*flow           // what it sends
	in      map[identity.ConnID][]*flow // what it receives
	routed  uint64                      // messages to nodes and keys so far
	arrived bits                        // which of them have
	called  uint64                      // calls so far
	served  bits                        // which of them have been
	calls   map[uint64]time.Duration
	open    map[identity.ConnID]*handled
	met     time.Duration // the last round of Meet
	stopped bool          // OnStop has been called
	over    bool
}

// A handled is a connection that has a handler.
type handled struct{ opened, closed, told bool }

type flowKey struct {
	conn identity.ConnID // at the sender
	kind conn.Kind
}

// A flow is what goes from one sender to one receiver over one connection.
type flow struct {
	next uint64          // number of the next message
	got  uint64          // number of the message that has to arrive next
	sent []time.Duration // when those on their way were sent; not of datagrams
	to   *trafficLife    // who has received the first of them
	on   identity.ConnID // of to
}

// bits is a set of numbers.
type bits []uint64

// add puts a number in, and reports whether it was in before.
func (b *bits) add(n uint64) bool {
	for uint64(len(*b)) <= n/64 {
		*b = append(*b, 0)
	}
	was := (*b)[n/64]&(1<<(n%64)) != 0
	(*b)[n/64] |= 1 << (n % 64)
	return was
}

// Describe describes the behaviour.
func (l *trafficLife) Describe() behavior.Info {
	return behavior.Info{Name: "plexus/testnet/traffic", Tick: l.run.cfg.Interval}
}

// OnStart keeps the agent.
func (l *trafficLife) OnStart(a *agent.Behavior) error {
	l.agent = a
	return nil
}

// OnConnect greets: what it sends has to wait at the other end for its OnConnect.
func (l *trafficLife) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	l.toConn(a, c.ID, 1+a.Rand().IntN(3))
	if a.Rand().IntN(2) == 0 {
		return nil
	}
	h := &handled{}
	l.open[c.ID] = h
	return &trafficHandler{l, h}
}

// OnDisconnect ends what goes over the connection.
func (l *trafficLife) OnDisconnect(_ *agent.Behavior, c conn.Info, cause error) {
	l.parted(c, conn.AsCloseError(cause).Code)
	if l.run.s.scenario.Durable {
		l.run.told(l, c, kindConn, cause)
		l.run.told(l, c, kindPeer, cause)
	}
	for _, kind := range []conn.Kind{kindConn, kindPeer, kindLoose} {
		if f := l.flows[flowKey{c.ID, kind}]; f != nil {
			f.sent = nil
		}
	}
	if h := l.open[c.ID]; h != nil {
		delete(l.open, c.ID)
		if h.opened && !(h.closed && h.told) {
			l.run.broken(delivered, "node %d: OnDisconnect of connection %d comes before what its handler has told in OnClose", l.node.Index, c.ID)
		}
	}
}

// parted judges the end of a connection. One that ends in good order loses
// nothing: each end waits for all that the other had sent.
func (l *trafficLife) parted(c conn.Info, code conn.Code) {
	r, flows := l.run, l.in[c.ID]
	delete(l.in, c.ID)
	to := r.s.index(c.Node)
	if code != conn.CodeClosed && code != conn.CodeShutdown || !r.health.clear(l.node.Index, to, patience) || !r.health.lively(l.node.Index, patience) || !r.health.lively(to, patience) {
		return
	}
	for _, f := range flows {
		if f.got < f.next {
			r.broken(delivered, "node %d: connection %d, to node %d, has ended in good order, and messages %d to %d have not arrived", l.node.Index, c.ID, to, f.got, f.next-1)
		}
	}
}

// OnDialError has the failure judged.
func (l *trafficLife) OnDialError(_ *agent.Behavior, d conn.Dial, err error) {
	l.run.dialFailed(l.node.Index, d, err)
}

// OnEvent takes in what handlers tell while they close.
func (l *trafficLife) OnEvent(_ *agent.Behavior, from conn.Info, ev any) {
	if h, ok := ev.(*handled); ok {
		if l.open[from.ID] != h {
			l.run.broken(delivered, "node %d: what the handler of connection %d has told in OnClose comes after OnDisconnect", l.node.Index, from.ID)
		}
		h.told = true
	}
}

// OnStop sends a last message over every connection.
func (l *trafficLife) OnStop(a *agent.Behavior) {
	for _, c := range a.Conns() {
		l.toConn(a, c.ID, 1)
	}
	l.stopped = true
}

// OnTick sends.
func (l *trafficLife) OnTick(a *agent.Behavior, _ time.Time) {
	rng, r := a.Rand(), l.run
	if conns := a.Conns(); len(conns) > 0 {
		l.toConn(a, conns[rng.IntN(len(conns))].ID, 1+rng.IntN(r.cfg.Burst))
		l.loose(a, conns[rng.IntN(len(conns))].ID)
	}
	to := r.s.nodes[rng.IntN(len(r.s.nodes))]
	l.route(a, kindNode, router.ToNode(to.Key.ID()), uint32(to.Index))
	var key identity.Key
	for i := range key {
		key[i] = byte(rng.Uint32())
	}
	l.route(a, kindKey, router.ToKey(key), anyNode)
	l.call(a, rng)
	l.meet(a)
}

// meet dials the node that this one is paired with in this round, as that one
// does.
func (l *trafficLife) meet(a *agent.Behavior) {
	r := l.run
	if r.cfg.Meet < 0 || r.s.Now()/r.cfg.Meet == l.met {
		return
	}
	l.met = r.s.Now() / r.cfg.Meet
	rng := rand.New(rand.NewPCG(r.s.Seed, uint64(l.met)))
	order := rng.Perm(len(r.s.nodes))
	for at, i := range order {
		if i != l.node.Index {
			continue
		}
		if other := at ^ 1; other < len(order) && a.Dial(r.s.nodes[order[other]].Address()) == nil {
			r.stats.Met++
		}
	}
}

// toConn sends messages to a connection, some to the handler at its other end
// and some to the behaviour.
func (l *trafficLife) toConn(a *agent.Behavior, id identity.ConnID, n int) {
	for range n {
		kind := kindConn
		if a.Rand().IntN(3) == 0 {
			kind = kindPeer
		}
		f := l.flow(id, kind)
		o := agent.Outgoing{To: router.ToConn(id), Kind: kind, Payload: l.payload(a.Rand(), id, f.next, anyNode), ToBehavior: kind == kindPeer}
		if l.sent(a.SendMessage(o)) {
			f.next++
			f.sent = append(f.sent, l.run.s.Now())
		}
	}
}

// loose sends a datagram.
func (l *trafficLife) loose(a *agent.Behavior, id identity.ConnID) {
	f := l.flow(id, kindLoose)
	f.next++ // at once: a datagram may be lost
	l.sent(a.SendMessage(agent.Outgoing{To: router.ToConn(id), Kind: kindLoose, Payload: l.payload(a.Rand(), id, f.next-1, anyNode), Unreliable: true}))
}

// route sends a message that may take several hops.
func (l *trafficLife) route(a *agent.Behavior, kind conn.Kind, to router.Route, node uint32) {
	if l.sent(a.Send(to, kind, l.payload(a.Rand(), 0, l.routed, node))) {
		l.routed++
	}
}

func (l *trafficLife) sent(err error) bool {
	if err != nil {
		l.run.stats.Refused++
		return false
	}
	l.run.stats.Sent++
	return true
}

func (l *trafficLife) flow(id identity.ConnID, kind conn.Kind) *flow {
	key := flowKey{id, kind}
	f := l.flows[key]
	if f == nil {
		f = &flow{}
		l.flows[key] = f
	}
	return f
}

// A payload: node, life and connection of the sender, number of the message,
// node that it is for, and bytes that follow from these.
const (
	payloadHeader = 4 + 4 + 8 + 8 + 4
	payloadCheck  = 8
	anyNode       = ^uint32(0)
)

func (l *trafficLife) payload(rng *rand.Rand, id identity.ConnID, number uint64, to uint32) []byte {
	size := payloadHeader + payloadCheck
	if extra := l.run.cfg.Size - size; extra > 0 {
		size += rng.IntN(extra+1) >> rng.IntN(8)
	}
	b := make([]byte, 0, size)
	b = binary.BigEndian.AppendUint32(b, uint32(l.node.Index))
	b = binary.BigEndian.AppendUint32(b, uint32(l.number))
	b = binary.BigEndian.AppendUint64(b, uint64(id))
	b = binary.BigEndian.AppendUint64(b, number)
	b = binary.BigEndian.AppendUint32(b, to)
	return fill(b[:size])
}

// numberOf returns the number of a message.
func numberOf(payload []byte) uint64 { return binary.BigEndian.Uint64(payload[16:]) }

// fill fills in what follows from the header and the length.
func fill(b []byte) []byte {
	x := uint64(len(b))
	for _, c := range b[:payloadHeader] {
		x = (x ^ uint64(c)) * 0x9e3779b97f4a7c15
		x ^= x >> 29
	}
	for at := payloadHeader; at < len(b); at += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		var word [8]byte
		binary.BigEndian.PutUint64(word[:], x)
		copy(b[at:], word[:])
	}
	return b
}

// OnMessage takes in what no handler takes.
func (l *trafficLife) OnMessage(_ *agent.Behavior, m *conn.Message) { l.receive(m, nil) }

// A trafficHandler is the handler of every other connection.
type trafficHandler struct {
	life *trafficLife
	h    *handled
}

// OnOpen notes that the handler is there.
func (t *trafficHandler) OnOpen(*agent.Handler) { t.h.opened = true }

// OnMessage takes in what is sent to the connection.
func (t *trafficHandler) OnMessage(_ *agent.Handler, m *conn.Message) { t.life.receive(m, t.h) }

// OnClose tells the behaviour.
func (t *trafficHandler) OnClose(a *agent.Handler, _ error) {
	t.h.closed = true
	if a.Tell(t.h) != nil { // a full queue
		t.h.told = true
	}
}

// receive judges a message. h is the handler that it has come to.
func (l *trafficLife) receive(m *conn.Message, h *handled) {
	r := l.run
	r.stats.Received++
	fail := func(format string, args ...any) {
		r.broken(delivered, "node %d, connection %d, from node %d: %s", l.node.Index, m.Conn, r.s.index(m.From), fmt.Sprintf(format, args...))
	}
	b := m.Payload
	if len(b) < payloadHeader+payloadCheck || !bytes.Equal(fill(append([]byte(nil), b...)), b) {
		fail("a message of kind %d and %d bytes is not what was sent", m.Kind, len(b))
		return
	}
	id, number, to := identity.ConnID(binary.BigEndian.Uint64(b[8:])), binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint32(b[24:])
	from := r.life(binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]))
	switch {
	case from == nil || m.From != from.node.Key.ID():
		fail("a message is not from who has sent it")
	case to != anyNode && to != uint32(l.node.Index):
		fail("message %d is for node %d", number, to)
	case h != nil && (!h.opened || h.closed):
		fail("message %d comes before OnOpen or after OnClose", number)
	case m.Kind == kindNode || m.Kind == kindKey:
		if number >= from.routed {
			fail("routed message %d was never sent", number)
		}
		if from.arrived.add(number) {
			fail("routed message %d arrives a second time", number)
		}
	case m.Kind == kindLoose:
		if f := from.flows[flowKey{id, kindLoose}]; f == nil || number >= f.next {
			fail("datagram %d was never sent", number)
		}
	default:
		l.inOrder(m, from, id, number, fail)
	}
}

// inOrder judges a message of which all others over the same connection have to
// be in order.
func (l *trafficLife) inOrder(m *conn.Message, from *trafficLife, id identity.ConnID, number uint64, fail func(string, ...any)) {
	f := from.flows[flowKey{id, m.Kind}]
	if f == nil || number >= f.next {
		fail("message %d was never sent", number)
		return
	}
	if f.to == nil {
		f.to, f.on = l, m.Conn
		l.in[m.Conn] = append(l.in[m.Conn], f)
	}
	switch {
	case f.to != l || f.on != m.Conn:
		fail("message %d to %s, sent to connection %d, has come over another one", number, receiverOf(m.Kind), id)
	case number < f.got:
		fail("message %d to %s arrives a second time, after number %d", number, receiverOf(m.Kind), f.got-1)
	case number > f.got:
		fail("message %d to %s arrives after number %d: what was between is lost, or late, though the connection is open", number, receiverOf(m.Kind), int64(f.got)-1)
	}
	if n := number + 1 - f.got; number >= f.got {
		f.got = number + 1
		f.sent = f.sent[min(n, uint64(len(f.sent))):]
	}
}

// A call is a request, and its answer.
type call struct {
	Node, Life uint32
	Number     uint64
	Answer     uint64
	Next       uint32 // the node that relay asks
	Service    uint16
}

func (c *call) answer() uint64 {
	return (c.Number+1)*0x9e3779b97f4a7c15 ^ uint64(c.Node)<<32 ^ uint64(c.Life)
}

// call calls somebody: a neighbour, a node or a key; sometimes somebody who has
// to ask another one.
func (l *trafficLife) call(a *agent.Behavior, rng *rand.Rand) {
	r := l.run
	req := call{Node: uint32(l.node.Index), Life: uint32(l.number), Number: l.called, Next: uint32(rng.IntN(len(r.s.nodes)))}
	to := router.ToNode(r.s.nodes[rng.IntN(len(r.s.nodes))].Key.ID())
	switch conns := a.Conns(); rng.IntN(3) {
	case 0:
		to = router.ToKey(identity.KeyOf(binary.BigEndian.AppendUint64(nil, rng.Uint64())))
	case 1:
		if len(conns) > 0 {
			to = router.ToConn(conns[rng.IntN(len(conns))].ID)
		}
	}
	method := r.echo
	if rng.IntN(4) == 0 {
		method = r.relay
	}
	began := r.s.Now()
	err := method.Go(&l.Client, to, req, func(res call, err error) { l.ended(req, res, err) })
	if err != nil {
		r.stats.Refused++
		return
	}
	l.calls[req.Number] = began
	l.called++
	r.stats.Calls++
}

// ended judges the end of a call.
func (l *trafficLife) ended(req, res call, err error) {
	r := l.run
	if _, waits := l.calls[req.Number]; !waits {
		r.broken(answered, "node %d: call %d has ended twice: %v", l.node.Index, req.Number, err)
	}
	delete(l.calls, req.Number)
	if err != nil {
		r.stats.Failed++
		return
	}
	r.stats.Answered++
	if res.Node != req.Node || res.Life != req.Life || res.Number != req.Number || res.Answer != req.answer() {
		r.broken(answered, "node %d: call %d has the answer to another: %+v", l.node.Index, req.Number, res)
	}
}

// oldest returns the call that waits for longest.
func (l *trafficLife) oldest() (id uint64, began time.Duration, some bool) {
	for n, at := range l.calls {
		if !some || n < id {
			id, began, some = n, at, true
		}
	}
	return id, began, some
}

// serve answers a call.
func (l *trafficLife) serve(_ context.Context, req call) (call, error) {
	from := l.run.life(req.Node, req.Life)
	switch {
	case from == nil:
		l.run.broken(answered, "node %d: a call of nobody: %+v", l.node.Index, req)
	case from.served.add(req.Number):
		l.run.broken(answered, "node %d: call %d of node %d is served a second time", l.node.Index, req.Number, req.Node)
	}
	req.Answer = req.answer()
	return req, nil
}

// serveRelay has another node answer a call.
func (l *trafficLife) serveRelay(ctx context.Context, req call) (call, error) {
	return l.run.echo.Call(ctx, &l.Client, router.ToNode(l.run.s.nodes[int(req.Next)%len(l.run.s.nodes)].Key.ID()), req)
}
