package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A Path is the way from one host to another.
type Path struct {
	Latency   func(*rand.Rand) time.Duration
	Loss      float64 // of datagrams; pieces of a stream are sent again
	Duplicate float64 // of datagrams
	Reorder   float64 // of datagrams
	Rate      float64 // bit/s; 0: unlimited
	Queue     int     // bytes that wait for Rate, before a writer waits
}

// A lane is one direction of a connection: a path, and what is under way.
type lane struct {
	*Path
	clear int64 // when all that was sent has left
	last  int64 // when the last piece of the stream arrives
	one   int64 // the last latency
}

// leaves returns when size bytes that are sent now have left the sender.
func (l *lane) leaves(now int64, size int) int64 {
	l.clear = max(l.clear, now)
	if l.Rate > 0 {
		l.clear += int64(float64(size) * 8e9 / l.Rate)
	}
	return l.clear
}

// backlog returns how many bytes have not yet left.
func (l *lane) backlog(now int64) int {
	if l.Rate <= 0 || l.clear <= now {
		return 0
	}
	return int(float64(l.clear-now) * l.Rate / 8e9)
}

// stream returns when a piece of the stream arrives that is sent now, and
// whether it was lost at first. It does not overtake the one before.
func (l *lane) stream(w *World, size int) (at int64, lost bool) {
	l.one = int64(l.Latency(w.Rand))
	at = l.leaves(w.now, size) + l.one
	for l.Loss > 0 && w.Rand.Float64() < l.Loss {
		lost = true
		at += 2*l.one + retransmit // it is noticed after a round trip, and a while
		if at-w.now > int64(time.Minute) {
			break
		}
	}
	at = max(at, l.last)
	l.last = at
	return at, lost
}

// retransmit is how long after a round trip a sender takes a piece to be lost.
const retransmit = int64(10 * time.Millisecond)

// datagram returns when a datagram arrives, false if it does not.
func (l *lane) datagram(w *World, size int) (at int64, arrives bool) {
	at = l.leaves(w.now, size) + int64(l.Latency(w.Rand))
	if l.Reorder > 0 && w.Rand.Float64() < l.Reorder {
		at += int64(l.Latency(w.Rand)) + int64(time.Millisecond)
	}
	return at, l.Loss <= 0 || w.Rand.Float64() >= l.Loss
}

// Block stops all that goes from one host to another, until Unblock. Streams
// wait, datagrams are lost.
func (w *World) Block(from, to *Host) {
	w.fault("block", from, to)
	w.blocked[[2]int{from.Index, to.Index}] = true
}

// Unblock undoes Block.
func (w *World) Unblock(from, to *Host) {
	w.fault("unblock", from, to)
	delete(w.blocked, [2]int{from.Index, to.Index})
	for _, e := range to.lines {
		if e.peer.host == from {
			e.release()
		}
	}
}

func (w *World) open(from, to *Host) bool {
	return len(w.blocked) == 0 || !w.blocked[[2]int{from.Index, to.Index}]
}

// Cut breaks the connections between two hosts, each at a random byte of what
// is under way.
func (w *World) Cut(a, b *Host) {
	w.fault("cut", a, b)
	for _, e := range slices.Clone(a.lines) {
		if e.peer.host == b {
			e.cut()
			e.peer.cut()
		}
	}
}
