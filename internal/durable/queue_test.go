package durable

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A shelf is a queue as simple as can be: whole messages, numbered from 1 on.
type shelf struct {
	all               [][]byte // those that are acked, too, since the last reset
	acked, sent, ever int
	kept              int // were collected
}

// A check drives a queue and a shelf with the same calls.
type queueCheck struct {
	t     *testing.T
	rng   *rand.Rand
	q     queue
	m     shelf
	steps []string
}

func (c *queueCheck) note(format string, a ...any) {
	c.steps = append(c.steps, fmt.Sprintf(format, a...))
}

func (c *queueCheck) fail(format string, a ...any) {
	c.t.Helper()
	c.t.Fatalf(format+"\nafter %v", append(a, c.steps[max(0, len(c.steps)-20):])...)
}

// same fails unless lists are equal.
func (c *queueCheck) same(what string, got, want [][]byte) {
	c.t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		c.fail("%s returned %d messages, want %d", what, len(got), len(want))
	}
}

func (c *queueCheck) step() {
	m, q := &c.m, &c.q
	switch k := c.rng.IntN(20); {
	case k < 8:
		n := c.rng.IntN(200)
		if c.rng.IntN(10) == 0 {
			n = c.rng.IntN(40 << 10)
		}
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(c.rng.Uint32())
		}
		c.note("add %d", n)
		copy(q.add(typeData, n), p)
		m.all = append(m.all, p)
	case k < 13:
		c.take(c.rng.IntN(50 << 10))
	case k < 17 && m.ever > m.acked: // also of what was not sent again on this carrier
		n := m.acked + c.rng.IntN(m.ever-m.acked+1)
		c.note("ack %d", n)
		if news := q.ack(uint64(n)); news != (n > m.acked) {
			c.fail("ack(%d) = %t behind %d", n, news, m.acked)
		}
		m.acked, m.sent = n, max(m.sent, n)
	case k < 18:
		n := m.acked + c.rng.IntN(m.ever-m.acked+1)
		c.note("rewind %d", n)
		frames, size := q.rewind(uint64(n))
		again := m.all[n:m.ever]
		if want := bytesOf(again); int(frames) != len(again) || int(size) != want {
			c.fail("rewind(%d) counts %d messages of %d bytes, want %d of %d", n, frames, size, len(again), want)
		}
		m.sent = n
	case k < 19 && c.rng.IntN(4) == 0:
		c.note("reset")
		c.same("reset", q.reset(), m.all[m.acked:m.ever])
		*m = shelf{all: m.all[m.ever:], kept: max(0, m.kept-m.ever)}
	case c.rng.IntN(8) == 0:
		c.note("rest")
		c.same("rest", q.rest(), m.all[m.acked:])
		m.sent = len(m.all)
		q.rewind(uint64(m.acked)) // what comes next is for a channel that goes on
		m.sent = m.acked
	}
}

func bytesOf(list [][]byte) (n int) {
	for _, p := range list {
		n += header + len(p)
	}
	return n
}

// take takes, has other things happen while what was taken is written, and reads
// it then.
func (c *queueCheck) take(room int) {
	m, q := &c.m, &c.q
	most := len(m.all) - c.rng.IntN(2)*c.rng.IntN(4)
	if q.keeps {
		c.note("collect")
		if c.rng.IntN(2) == 0 {
			c.same("collect", q.collect(), m.all[m.kept:])
			m.kept = len(m.all)
		}
		most = m.kept
	}
	c.note("take %d up to %d", room, most)
	b := q.take(room, uint64(max(most, 0)))
	if fits := m.sent < most && header+len(m.all[m.sent]) <= room; fits != (b != nil) {
		c.fail("take(%d, %d) = %d bytes, something fits: %t", room, most, len(b), fits)
	}
	if len(b) > room {
		c.fail("take(%d) = %d bytes", room, len(b))
	}
	var want [][]byte
	for n := 0; n < len(b); m.sent++ {
		want = append(want, m.all[m.sent])
		n += header + len(m.all[m.sent])
	}
	if b != nil && m.sent > most {
		c.fail("take(%d, %d) took up to %d", room, most, m.sent)
	}
	m.ever = max(m.ever, m.sent)
	if len(b) > 0 && c.rng.IntN(2) == 0 {
		for range 1 + c.rng.IntN(3) {
			c.meanwhile()
		}
	}
	var got [][]byte
	for n := 0; n < len(b); {
		_, size := parseHeader(b[n:])
		got = append(got, b[n+header:n+header+size])
		n += header + size
	}
	c.same("take", got, want)
	q.release()
}

// meanwhile is anything but take: a writer is at work.
func (c *queueCheck) meanwhile() {
	m, q := &c.m, &c.q
	switch c.rng.IntN(3) {
	case 0:
		c.note("meanwhile ack %d", m.ever)
		q.ack(uint64(m.ever))
		m.acked, m.sent = m.ever, max(m.sent, m.ever)
	case 1:
		for range 3 {
			p := bytes.Repeat([]byte{0xee}, c.rng.IntN(3000))
			c.note("meanwhile add %d", len(p))
			copy(q.add(typeData, len(p)), p)
			m.all = append(m.all, p)
		}
	case 2:
		c.note("meanwhile reset")
		c.same("reset", q.reset(), m.all[m.acked:m.ever])
		*m = shelf{all: m.all[m.ever:], kept: max(0, m.kept-m.ever)}
	}
}

// check compares what can be seen of both.
func (c *queueCheck) check() {
	m, q := &c.m, &c.q
	waits := bytesOf(m.all[m.acked:])
	if int(q.acked) != m.acked || int(q.sent) != m.sent || int(q.ever) != m.ever || int(q.last) != len(m.all) || q.bytes() != waits {
		c.fail("acked %d sent %d ever %d last %d, %d bytes; want %d %d %d %d, %d", q.acked, q.sent, q.ever, q.last, q.bytes(), m.acked, m.sent, m.ever, len(m.all), waits)
	}
	if away := bytesOf(m.all[m.acked:m.sent]); int(q.sentPos-q.ackPos) != away {
		c.fail("%d bytes are under way, want %d", q.sentPos-q.ackPos, away)
	}
	held := 0
	for chunk := q.head; chunk != nil; chunk = chunk.next {
		held += cap(chunk.b)
	}
	if most := 3*waits + 3*chunkSizes[len(chunkSizes)-1]; held > most {
		c.fail("%d bytes of chunks are held for %d", held, waits)
	}
}

// A queue does what a simple model does, in any order of calls.
func TestQueueAgainstAModel(t *testing.T) {
	for seed := range uint64(50) {
		c := &queueCheck{t: t, rng: rand.New(rand.NewPCG(seed, 2)), q: queue{keeps: seed%2 == 0}}
		for range 400 {
			c.step()
			c.check()
		}
	}
}

// FuzzQueue is the same with more seeds.
func FuzzQueue(f *testing.F) {
	f.Add(uint64(1), uint16(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		c := &queueCheck{t: t, rng: rand.New(rand.NewPCG(seed, 3)), q: queue{keeps: seed%2 == 0}}
		for range min(steps, 1000) {
			c.step()
			c.check()
		}
	})
}
