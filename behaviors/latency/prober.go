package latency

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

// The kinds of messages. Their values are part of the wire format.
const (
	kindProbe  conn.Kind = 1
	kindAnswer conn.Kind = 2
)

const (
	probeSize      = 4 + 8 // sequence and nonce
	maxOutstanding = 64    // probes that wait for their answers
)

// errProbe is what is wrong with a message that is not the protocol.
var errProbe = errors.New("latency: probe has a wrong size")

// A probe is a message that asks for its like.
type probe struct {
	sequence uint32
	nonce    uint64 // random, so that answers cannot be made up ahead
}

func (p probe) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, p.sequence), p.nonce)
}

// decodeProbe reads a probe and skips what follows it.
func decodeProbe(b []byte) (probe, error) {
	if len(b) < probeSize {
		return probe{}, errProbe
	}
	return probe{binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])}, nil
}

// A sent probe waits for its answer.
type sent struct {
	probe
	at time.Time
}

// A prober is the handler of one connection. It answers and measures on the
// connection's turn: what the behaviours of the node are busy with does not
// count.
type prober struct {
	config      Config
	cell        *cell
	m           Measurement
	sequence    uint32
	outstanding []sent    // oldest first, at most maxOutstanding
	lost        uint64    // the last probes, latest in the lowest bit: 1 is lost
	decided     int       // how many bits of lost count
	missed      int       // lost in a row
	since       time.Time // when the first of them was sent
	buf         [probeSize]byte
}

// OnOpen sends the first probe at once.
func (p *prober) OnOpen(a *agent.Handler) {
	p.probe(a, a.Now())
	if p.m.Transport = a.Stats().TransportStats; p.m.Transport.RTT > 0 {
		p.m.RTT = p.m.Transport.RTT // until something better is known
		p.publish(a.Now())
		p.report()
	}
}

// OnTick gives up probes that are not answered, and sends the next.
func (p *prober) OnTick(a *agent.Handler, now time.Time) {
	gone := 0
	for gone < len(p.outstanding) && now.Sub(p.outstanding[gone].at) >= p.config.Timeout {
		p.lose(p.outstanding[gone].at)
		gone++
	}
	p.outstanding = append(p.outstanding[:0], p.outstanding[gone:]...)
	stats := a.Stats()
	p.m.Transport = stats.TransportStats
	if p.m.Last == 0 && stats.RTT > 0 {
		p.m.RTT = stats.RTT
	}
	defer p.publish(now)
	if p.config.MaxMissed > 0 && p.missed >= p.config.MaxMissed && !stats.LastReceived.After(p.since) {
		cause := &conn.CloseError{Code: conn.CodeTimeout, Reason: fmt.Sprintf("latency: %d probes were not answered", p.missed)}
		if err := a.Close(cause); err != nil {
			a.Log().Debug("latency: connection not closed", "err", err)
		}
		return
	}
	p.probe(a, now)
}

// OnMessage answers probes and takes answers.
func (p *prober) OnMessage(a *agent.Handler, m *conn.Message) {
	got, err := decodeProbe(m.Payload)
	switch {
	case err != nil:
		p.m.Ignored++
	case m.Kind == kindProbe:
		if err := a.Reply(kindAnswer, got.append(p.buf[:0])); err != nil {
			a.Log().Debug("latency: answer not sent", "err", err)
		}
	case m.Kind == kindAnswer:
		p.answered(a, got, a.Now())
	default:
		p.m.Ignored++
	}
}

// probe sends a probe.
func (p *prober) probe(a *agent.Handler, now time.Time) {
	if len(p.outstanding) >= maxOutstanding {
		return // the timeout is not reached, yet there is no room to remember more
	}
	p.sequence++
	s := sent{probe{p.sequence, a.Rand().Uint64()}, now}
	if err := a.Reply(kindProbe, s.append(p.buf[:0])); err != nil {
		return // not sent, so not lost: the connection is congested or read-only
	}
	p.m.Sent++
	p.outstanding = append(p.outstanding, s)
}

// answered takes an answer. Only the answer to a probe that waits for it counts.
func (p *prober) answered(a *agent.Handler, got probe, now time.Time) {
	for i, s := range p.outstanding {
		if s.probe != got {
			continue
		}
		p.outstanding = append(p.outstanding[:i], p.outstanding[i+1:]...)
		p.decide(0)
		p.missed = 0
		p.m.Answered++
		if rtt := now.Sub(s.at); rtt >= 0 {
			p.measure(max(rtt, 1)) // zero is below the resolution of the clock
			p.publish(now)
			p.report()
		}
		return
	}
	p.m.Ignored++
}

// measure takes a round-trip time into the estimates.
func (p *prober) measure(rtt time.Duration) {
	m := &p.m
	if m.Last == 0 {
		// RFC 6298, section 2.2.
		m.RTT, m.Variation = rtt, rtt/2
		m.Min = rtt
	} else {
		// RFC 6298, section 2.3: alpha is 1/8, beta is 1/4, variation first.
		m.Variation += ((m.RTT - rtt).Abs() - m.Variation) / 4
		m.RTT = max(m.RTT+(rtt-m.RTT)/8, 1)
		// RFC 3550, section 6.4.1, with round trips for transits.
		m.Jitter += ((rtt - m.Last).Abs() - m.Jitter) / 16
		m.Min = min(m.Min, rtt)
	}
	m.Last = rtt
}

// lose counts a probe that was not answered in time.
func (p *prober) lose(at time.Time) {
	p.decide(1)
	p.m.Lost++
	if p.missed == 0 {
		p.since = at
	}
	p.missed++
}

// decide remembers whether a probe was lost.
func (p *prober) decide(lost uint64) {
	p.lost = p.lost<<1 | lost
	p.decided = min(p.decided+1, p.config.Window)
	inWindow := p.lost << (maxWindow - p.decided)
	p.m.Loss = float64(bits.OnesCount64(inWindow)) / float64(p.decided)
}

// publish lets others see the measurement.
func (p *prober) publish(now time.Time) {
	m := p.m
	m.Updated = now
	p.cell.current.Store(&m)
}

// report tells the hook.
func (p *prober) report() {
	if p.config.OnMeasure != nil {
		p.config.OnMeasure(p.m.Conn, p.m.Node, p.m.RTT)
	}
}
