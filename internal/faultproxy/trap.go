package faultproxy

import (
	"slices"
	"time"
)

// A trap strikes when a number of bytes has been forwarded in a direction.
type trap struct {
	conn   *Conn // nil: on any connection of the proxy
	dir    Direction
	left   int64
	strike func(c *Conn) // who has carried the last of them
}

// BreakAt breaks the connection that carries the n-th byte from now in a
// direction, right behind that byte: its receiver is sent nothing more. A
// Reset may overtake bytes that the receiver has not read.
// n of 0 or less breaks all connections now.
func (p *Proxy) BreakAt(dir Direction, n int64, f Fault) {
	if n <= 0 {
		p.Break(f)
		return
	}
	p.set(&trap{dir: dir, left: n, strike: func(c *Conn) { c.Break(f) }})
}

// BreakAt is [Proxy.BreakAt] for the bytes of this connection alone.
func (c *Conn) BreakAt(dir Direction, n int64, f Fault) {
	if n <= 0 {
		c.Break(f)
		return
	}
	c.proxy.set(&trap{conn: c, dir: dir, left: n, strike: func(c *Conn) { c.Break(f) }})
}

func (p *Proxy) set(t *trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, t)
}

// unset takes a trap away.
func (p *Proxy) unset(t *trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = slices.DeleteFunc(p.traps, func(o *trap) bool { return o == t })
}

// slices of a second that a rate is kept to.
const slicesOfSecond = 50

// take returns how many of n bytes a connection may forward at once, the traps
// that they spring, and how long the rate has it wait afterwards.
func (p *Proxy) take(c *Conn, dir Direction, n int) (taken int, sprung []*trap, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := int64(n)
	if rate := p.pace.Rate; rate > 0 {
		most = min(most, max(rate/slicesOfSecond, 1))
		defer func() { wait = time.Duration(taken) * time.Second / time.Duration(rate) }()
	}
	mine := func(t *trap) bool { return t.dir == dir && (t.conn == nil || t.conn == c) }
	for _, t := range p.traps {
		if mine(t) {
			most = min(most, t.left)
		}
	}
	p.traps = slices.DeleteFunc(p.traps, func(t *trap) bool {
		if !mine(t) {
			return false
		}
		t.left -= most
		if t.left == 0 {
			sprung = append(sprung, t)
		}
		return t.left == 0
	})
	return int(most), sprung, 0
}

// forward writes bytes to the end of a direction, springs the traps that they
// reach, and counts what is dropped.
func (c *Conn) forward(dir Direction, b []byte) {
	for len(b) > 0 {
		if !c.passGates(dir) {
			c.count(dir, 0, len(b))
			return
		}
		n, sprung, wait := c.proxy.take(c, dir, len(b))
		wrote, err := c.ends[dir].Write(b[:n])
		c.count(dir, wrote, n-wrote)
		b = b[n:]
		for _, t := range sprung {
			t.strike(c)
		}
		if err != nil {
			select {
			case <-c.cut[dir]: // it was cut meanwhile
			default:
				c.abort() // the receiver is gone
			}
		}
		c.pause(dir, wait)
	}
}

func (c *Conn) count(dir Direction, forwarded, dropped int) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.proxy.stats.Bytes[dir] += uint64(forwarded)
	c.proxy.stats.Dropped[dir] += uint64(dropped)
}
