package latency

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behavior/behaviortest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A bench is one Latency on a recorder with one connection, whose other end the
// test plays.
type bench struct {
	t    *testing.T
	rec  *agenttest.Recorder
	l    *Latency
	link conn.Info
	h    *prober
	a    *agent.Handler
}

func newBench(t *testing.T, c Config) *bench {
	b := &bench{t: t, rec: agenttest.New(agenttest.Config{Service: Service}), l: New(c)}
	b.link, b.h, b.a = b.open(agenttest.Node("peer"))
	b.h.OnOpen(b.a)
	return b
}

func (b *bench) open(node identity.NodeID) (conn.Info, *prober, *agent.Handler) {
	c := b.rec.Connect(conn.Info{Node: node})
	return c, b.l.OnConnect(b.rec.Behavior(), c).(*prober), b.rec.Handler(c.ID)
}

// probes returns the payloads of the probes sent since the last call.
func (b *bench) probes() (out [][]byte) {
	for _, c := range b.rec.TakeCalls() {
		if c.IsSend() && c.Message.Kind == kindProbe && c.Err == nil {
			out = append(out, c.Message.Payload)
		}
	}
	return out
}

func (b *bench) answer(p []byte) { b.h.OnMessage(b.a, b.rec.Message(b.link, kindAnswer, p)) }

func (b *bench) tick() { b.h.OnTick(b.a, b.a.Now()) }

// rounds lets n probes be answered after rtt.
func (b *bench) rounds(n int, rtt time.Duration) {
	for range n {
		b.tick()
		for _, p := range b.probes() {
			b.rec.Advance(rtt)
			b.answer(p)
		}
		b.rec.Advance(time.Second - rtt)
	}
}

func (b *bench) peer() Measurement {
	b.t.Helper()
	peers := b.l.Peers()
	if len(peers) != 1 {
		b.t.Fatalf("%d peers, want 1", len(peers))
	}
	return peers[0]
}

func TestFirstMeasurementAfterOneRoundTrip(t *testing.T) {
	var heard time.Duration
	b := newBench(t, Config{OnMeasure: func(_ identity.ConnID, _ identity.NodeID, rtt time.Duration) { heard = rtt }})
	if _, ok := b.l.RTT(b.link.Node); ok {
		t.Error("there is a round-trip time before the first answer")
	}
	sent := b.probes()
	if len(sent) != 1 {
		t.Fatalf("OnOpen sends %d probes, want 1", len(sent))
	}
	b.rec.Advance(20 * time.Millisecond)
	b.answer(sent[0])
	if rtt, ok := b.l.RTT(b.link.Node); !ok || rtt != 20*time.Millisecond || heard != rtt {
		t.Errorf("RTT is %v, %v, the hook heard %v; want 20 ms", rtt, ok, heard)
	}
	if m := b.peer(); m.Variation != 10*time.Millisecond || m.Min != 20*time.Millisecond || m.Jitter != 0 || m.Node != b.link.Node || m.Conn != b.link.ID {
		t.Errorf("first measurement %+v; RFC 6298 starts with half of it as variation", m)
	}
}

func TestTransportBeforeFirstAnswer(t *testing.T) {
	heard := 0
	b := &bench{t: t, rec: agenttest.New(agenttest.Config{}), l: New(Config{OnMeasure: func(identity.ConnID, identity.NodeID, time.Duration) { heard++ }})}
	b.link, b.h, b.a = b.open(agenttest.Node("peer"))
	b.rec.SetStats(b.link.ID, conn.Stats{TransportStats: conn.TransportStats{RTT: 7 * time.Millisecond, PacketsLost: 3}})
	b.h.OnOpen(b.a)
	if rtt, ok := b.l.RTT(b.link.Node); !ok || rtt != 7*time.Millisecond || heard != 1 {
		t.Errorf("RTT is %v, %v after %d reports, want what the transport says", rtt, ok, heard)
	}
	sent := b.probes()
	b.rec.Advance(30 * time.Millisecond)
	b.answer(sent[0])
	if m := b.peer(); m.RTT != 30*time.Millisecond || m.Transport.PacketsLost != 3 {
		t.Errorf("%+v: the first answer replaces what the transport says", m)
	}
}

// TestEstimates checks the formulas by hand: RTT 100 ms, then 140 ms.
func TestEstimates(t *testing.T) {
	b := newBench(t, Config{})
	first := b.probes()
	b.rec.Advance(100 * time.Millisecond)
	b.answer(first[0])
	b.rec.Advance(900 * time.Millisecond)
	b.rounds(1, 140*time.Millisecond)
	m := b.peer()
	if want := 105 * time.Millisecond; m.RTT != want {
		t.Errorf("RTT %v, want 7/8 of 100 ms and 1/8 of 140 ms: %v", m.RTT, want)
	}
	if want := 47500 * time.Microsecond; m.Variation != want {
		t.Errorf("variation %v, want 3/4 of 50 ms and 1/4 of 40 ms: %v", m.Variation, want)
	}
	if want := 2500 * time.Microsecond; m.Jitter != want {
		t.Errorf("jitter %v, want 1/16 of 40 ms: %v", m.Jitter, want)
	}
	if m.Min != 100*time.Millisecond || m.Last != 140*time.Millisecond || m.Sent != 2 || m.Answered != 2 || m.Loss != 0 {
		t.Errorf("%+v", m)
	}
}

func TestAccuracy(t *testing.T) {
	for _, rtt := range []time.Duration{200 * time.Microsecond, 5 * time.Millisecond, 300 * time.Millisecond} {
		b := newBench(t, Config{})
		b.probes()
		b.rounds(100, rtt)
		if m := b.peer(); (m.RTT-rtt).Abs() > rtt/20 || m.Jitter > rtt/20 {
			t.Errorf("RTT of %v measured as %v, jitter %v", rtt, m.RTT, m.Jitter)
		}
		b.rounds(3, 5*rtt)
		if m := b.peer(); m.RTT < 2*rtt {
			t.Errorf("three samples after a step from %v to %v RTT is %v", rtt, 5*rtt, m.RTT)
		}
	}
}

func TestLoss(t *testing.T) {
	b := newBench(t, Config{Window: 8})
	for i := range 40 {
		for _, p := range b.probes() {
			if i < 20 || i%2 == 0 {
				b.answer(p)
			}
		}
		b.rec.Advance(time.Second)
		b.tick()
	}
	m := b.peer()
	if math.Abs(m.Loss-0.5) > 0.13 || m.Lost == 0 || m.Sent != m.Answered+m.Lost+uint64(len(b.h.outstanding)) {
		t.Errorf("%+v: want half of the last 8 lost", m)
	}
	b.rounds(12, time.Millisecond)
	if m := b.peer(); m.Loss != 0 {
		t.Errorf("loss is %v after a window without", m.Loss)
	}
}

func TestAnswersThatDoNotCount(t *testing.T) {
	b := newBench(t, Config{})
	good := b.probes()[0]
	b.rec.Advance(10 * time.Millisecond)
	forged := bytes.Clone(good)
	forged[11] ^= 1
	b.answer(forged)
	b.answer(good[:5])
	b.answer(nil)
	b.answer(good)
	b.rec.Advance(10 * time.Millisecond)
	b.answer(good) // twice
	b.h.OnMessage(b.a, b.rec.Message(b.link, 9, good))
	b.rec.Advance(980 * time.Millisecond)
	b.tick()
	late := b.probes()[0]
	b.rec.Advance(3 * time.Second)
	b.tick()
	b.answer(late)
	b.tick()
	if m := b.peer(); m.Answered != 1 || m.Ignored != 6 || m.RTT != 10*time.Millisecond || m.Lost != 1 {
		t.Errorf("%+v: want one answer counted and six ignored", m)
	}
}

func TestProbeIsAnswered(t *testing.T) {
	b := newBench(t, Config{})
	b.probes()
	b.h.OnMessage(b.a, b.rec.Message(b.link, kindProbe, []byte("123456789012 and fields of a later version")))
	got := b.rec.Take()
	if len(got) != 1 || got[0] != `conn:1 send conn:1 kind=2 "123456789012"` {
		t.Errorf("answers %q", got)
	}
}

func TestDeadConnectionIsClosed(t *testing.T) {
	closes := func(c Config, received time.Duration) (n int) {
		b := newBench(t, c)
		start := b.a.Now()
		for range 20 {
			b.rec.Advance(time.Second)
			if received > 0 {
				b.rec.SetStats(b.link.ID, conn.Stats{LastReceived: start.Add(received)})
			}
			b.tick()
		}
		for _, call := range b.rec.TakeCalls() {
			if call.Op.Code == agent.OpClose {
				n++
				if !errors.Is(call.Op.Cause, conn.CodeTimeout) {
					t.Errorf("closed with %v", call.Op.Cause)
				}
			}
		}
		return n
	}
	if n := closes(Config{}, 0); n != 0 {
		t.Errorf("closed %d times; by default it never is", n)
	}
	if n := closes(Config{MaxMissed: 3}, 0); n == 0 {
		t.Error("not closed after 3 probes were lost")
	}
	if n := closes(Config{MaxMissed: 3}, 19*time.Second); n != 0 {
		t.Errorf("closed %d times although something came in", n)
	}
}

func TestFullQueueIsNotLoss(t *testing.T) {
	b := newBench(t, Config{})
	b.rec.Fail(agent.ErrQueueFull)
	for range 20 {
		b.rec.Advance(time.Second)
		b.tick()
	}
	if m := b.peer(); m.Sent != 1 || m.Lost != 1 || len(b.h.outstanding) != 0 {
		t.Errorf("%+v: probes that could not be sent are not lost", m)
	}
}

func TestOutstandingIsBounded(t *testing.T) {
	b := newBench(t, Config{Interval: time.Millisecond, Timeout: time.Hour})
	for range 1000 {
		b.tick() // faster than the clock
	}
	if n := len(b.h.outstanding); n > maxOutstanding {
		t.Errorf("%d probes wait", n)
	}
}

func TestSeveralConnections(t *testing.T) {
	b := newBench(t, Config{})
	second, h2, a2 := b.open(b.link.Node)
	other, _, _ := b.open(agenttest.Node("other"))
	first := b.probes()
	h2.OnOpen(a2)
	fast := b.probes()
	b.rec.Advance(5 * time.Millisecond)
	h2.OnMessage(a2, b.rec.Message(second, kindAnswer, fast[0]))
	b.rec.Advance(5 * time.Millisecond)
	b.answer(first[0])
	if rtt, ok := b.l.RTT(b.link.Node); !ok || rtt != 5*time.Millisecond {
		t.Errorf("RTT is %v, %v, want that of the faster connection", rtt, ok)
	}
	if peers := b.l.Peers(); len(peers) != 2 {
		t.Errorf("%d peers, want the two connections with measurements", len(peers))
	}
	for _, c := range []conn.Info{second, other} {
		b.rec.Disconnect(c.ID, nil)
		b.l.OnDisconnect(b.rec.Behavior(), c, nil)
	}
	if rtt, ok := b.l.RTT(b.link.Node); !ok || rtt != 10*time.Millisecond {
		t.Errorf("RTT is %v, %v, want that of the connection that is left", rtt, ok)
	}
	if _, ok := b.l.RTT(other.Node); ok || len(b.l.cells.Load().cells) != 1 {
		t.Error("a connection that ended is remembered")
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	b := newBench(t, Config{})
	b.rounds(2, time.Millisecond)
	if n := testing.AllocsPerRun(100, func() { b.l.RTT(b.link.Node) }); n != 0 {
		t.Errorf("RTT allocates %v times", n)
	}
}

func TestGolden(t *testing.T) {
	want := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	if got := (probe{0x01020304, 0x05060708090a0b0c}).append(nil); !bytes.Equal(got, want) {
		t.Errorf("probe is %x, want %x", got, want)
	}
	if got, err := decodeProbe(append(want, 13)); err != nil || got != (probe{0x01020304, 0x05060708090a0b0c}) {
		t.Errorf("decoded %v, %v", got, err)
	}
	b := newBench(t, Config{})
	if p, err := decodeProbe(b.probes()[0]); err != nil || p.sequence != 1 {
		t.Errorf("first probe is %v, %v; sequences start with 1", p, err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(uint16(kindProbe), probe{1, 2}.append(nil))
	f.Add(uint16(kindAnswer), probe{1, 2}.append(nil))
	f.Add(uint16(3), []byte{})
	f.Fuzz(func(t *testing.T, kind uint16, payload []byte) {
		b := newBench(t, Config{})
		b.probes()
		b.h.OnMessage(b.a, b.rec.Message(b.link, conn.Kind(kind), payload))
		b.l.OnMessage(b.rec.Behavior(), b.rec.Message(b.link, conn.Kind(kind), payload))
		b.tick()
		if m := b.peer(); m.Answered != 0 || m.RTT != 0 {
			t.Errorf("%+v: a made-up message counts as an answer", m)
		}
		for _, c := range b.rec.TakeCalls() {
			if !c.IsSend() || len(c.Message.Payload) != probeSize {
				t.Errorf("asks for %v", c)
			}
		}
	})
}

func TestRules(t *testing.T) {
	behaviortest.Run(t, func() behavior.Behavior { return New(Config{MaxMissed: 3}) },
		conn.Message{Kind: kindProbe, Payload: probe{1, 2}.append(nil)},
		conn.Message{Kind: kindAnswer, Payload: probe{1, 2}.append(nil)})
}
