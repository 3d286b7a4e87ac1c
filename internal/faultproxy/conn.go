package faultproxy

import (
	"io"
	"net"
	"sync"
	"time"
)

// A Conn is a connection through a [Proxy]. After its end, methods do nothing.
type Conn struct {
	proxy *Proxy
	ends  [2]*net.TCPConn // Up: the target's, Down: the client's; where each direction leads
	done  chan struct{}
	once  sync.Once // closes done
	gates [2]gate   // guarded by proxy.mu
	cut   [2]chan struct{}
	cuts  [2]sync.Once // close cut
}

func newConn(p *Proxy, client, target *net.TCPConn) *Conn {
	c := &Conn{proxy: p, ends: [2]*net.TCPConn{Up: target, Down: client}, done: make(chan struct{}),
		cut: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
	if n := p.cfg.Socket; n > 0 {
		for _, end := range c.ends {
			_ = end.SetReadBuffer(n) // the system knows best
			_ = end.SetWriteBuffer(n)
		}
	}
	return c
}

// run forwards until both directions have ended.
func (c *Conn) run() {
	var directions sync.WaitGroup
	for _, dir := range []Direction{Up, Down} {
		queue := make(chan piece, pieces)
		directions.Go(func() { c.read(dir, queue) })
		directions.Go(func() { c.write(dir, queue) })
	}
	directions.Wait()
	c.once.Do(func() { close(c.done) })
	for _, end := range c.ends {
		end.Close()
	}
}

// Break breaks the connection now, even if it is stalled.
func (c *Conn) Break(f Fault) {
	c.proxy.mu.Lock()
	if f < faults {
		c.proxy.stats.Faults[f]++
	}
	c.proxy.mu.Unlock()
	switch f {
	case Close:
		c.endDirection(Up)
		c.endDirection(Down)
	case HalfUp:
		c.endDirection(Up)
	case HalfDown:
		c.endDirection(Down)
	case Reset:
		c.abort()
	}
}

// endDirection ends one direction: its receiver reads io.EOF.
func (c *Conn) endDirection(dir Direction) {
	c.cuts[dir].Do(func() {
		close(c.cut[dir])
		_ = c.ends[dir].SetWriteDeadline(time.Unix(1, 0)) // a write that waits for room
		_ = c.ends[dir].CloseWrite()                      // fails if it has ended before
	})
}

// abort resets both ends.
func (c *Conn) abort() {
	for _, end := range c.ends {
		_ = end.SetLinger(0) // before done closes: run closes them then, too
	}
	c.once.Do(func() { close(c.done) })
	for _, end := range c.ends {
		end.Close()
	}
}

// Stall is [Proxy.Stall] for this connection alone, until [Conn.Heal].
func (c *Conn) Stall(dirs ...Direction) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	stall(&c.gates, dirs)
}

// Heal ends Stall of this connection.
func (c *Conn) Heal() {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	heal(&c.gates)
}

// Done returns a channel that closes when the proxy has no more part in the
// connection.
func (c *Conn) Done() <-chan struct{} { return c.done }

// A gate is shut while its channel is there; it closes when the gate opens.
type gate chan struct{}

func stall(gates *[2]gate, dirs []Direction) {
	if len(dirs) == 0 {
		dirs = []Direction{Up, Down}
	}
	for _, d := range dirs {
		if gates[d] == nil {
			gates[d] = make(gate)
		}
	}
}

func heal(gates *[2]gate) {
	for d, g := range gates {
		if g != nil {
			close(g)
			gates[d] = nil
		}
	}
}

// pieces is how many reads wait in a queue, each at most this part of Buffer.
const pieces = 8

// A piece is what was read at once.
type piece struct {
	bytes []byte
	due   time.Time // when to forward it
	err   error     // the end of the direction: io.EOF or what broke it
}

// read fills the queue until the direction ends.
func (c *Conn) read(dir Direction, queue chan<- piece) {
	defer close(queue)
	from := c.ends[1-dir]
	for {
		buf := make([]byte, max(c.proxy.cfg.Buffer/pieces, 1))
		n, err := from.Read(buf)
		c.proxy.mu.Lock()
		delay := c.proxy.pace.Delay
		c.proxy.mu.Unlock()
		x := piece{bytes: buf[:n], err: err}
		if delay > 0 {
			x.due = time.Now().Add(delay)
		}
		select {
		case queue <- x:
		case <-c.done:
			c.count(dir, 0, n)
			return
		}
		if err != nil {
			return
		}
	}
}

// write empties the queue: forwards, or drops once the direction was cut.
func (c *Conn) write(dir Direction, queue <-chan piece) {
	for x := range queue {
		if !x.due.IsZero() {
			c.pause(dir, time.Until(x.due))
		}
		c.forward(dir, x.bytes)
		c.passGates(dir)
		switch x.err {
		case nil:
		case io.EOF:
			c.endDirection(dir)
		default:
			c.abort()
		}
	}
}

// pause waits, unless the direction ends.
func (c *Conn) pause(dir Direction, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.cut[dir]:
	case <-c.done:
	}
}

// passGates waits until no gate is shut, and reports whether the direction goes
// on.
func (c *Conn) passGates(dir Direction) bool {
	for {
		c.proxy.mu.Lock()
		shut := c.proxy.gates[dir]
		if shut == nil {
			shut = c.gates[dir]
		}
		c.proxy.mu.Unlock()
		select {
		case <-c.cut[dir]:
			return false
		case <-c.done:
			return false
		default:
		}
		if shut == nil {
			return true
		}
		select {
		case <-shut:
		case <-c.cut[dir]:
		case <-c.done:
		}
	}
}
