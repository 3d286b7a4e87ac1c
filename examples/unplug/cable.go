package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// delay is how long bytes take through the cable: it is a long one, so that much
// is in it when it is pulled.
const delay = 10 * time.Millisecond

// A cable forwards TCP connections to a target, and can be pulled.
type cable struct {
	target   string
	listener net.Listener
	wires    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	lines  map[*line]struct{}
	pulled int
	closed bool
}

// A line is a connection through the cable.
type line struct {
	near, far *net.TCPConn
	gone      [2]chan struct{} // there and back: closed when what is under way is lost
	once      [2]sync.Once
	dark      bool // nothing goes through any more; under the cable's mu
}

func newCable(target string) (*cable, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cable{target: target, listener: l, lines: map[*line]struct{}{}}
	c.wires.Go(c.accept)
	return c, nil
}

func (c *cable) addr() string { return c.listener.Addr().String() }

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.target)
		if err != nil {
			near.Close()
			continue
		}
		l := &line{near: near.(*net.TCPConn), far: far.(*net.TCPConn)}
		l.gone[0], l.gone[1] = make(chan struct{}), make(chan struct{})
		c.mu.Lock()
		if c.closed {
			l.cut(true)
		}
		c.lines[l] = struct{}{}
		c.mu.Unlock()
		c.wires.Go(func() { c.forward(l, l.gone[0], l.near, l.far) })
		c.wires.Go(func() { c.forward(l, l.gone[1], l.far, l.near) })
	}
}

// A piece is bytes in the cable.
type piece struct {
	p    []byte
	read time.Time
}

// forward carries one direction of a line until its end.
func (c *cable) forward(l *line, gone <-chan struct{}, from, to *net.TCPConn) {
	under := make(chan piece, 256)
	c.wires.Go(func() {
		defer close(under)
		for {
			p := make([]byte, 4<<10)
			n, err := from.Read(p)
			if n > 0 {
				select {
				case under <- piece{p[:n], time.Now()}:
				case <-gone:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for u := range under {
		if !c.wait(l, gone, time.Until(u.read.Add(delay))) {
			break
		}
		if _, err := to.Write(u.p); err != nil {
			break
		}
	}
	to.CloseWrite()
	_, _ = io.Copy(io.Discard, from) // what still comes is lost
	c.mu.Lock()
	delete(c.lines, l)
	c.mu.Unlock()
}

// wait waits until a piece has come through; it reports whether it has.
func (c *cable) wait(l *line, gone <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	through := t.C
	c.mu.Lock()
	if l.dark {
		through = nil
	}
	c.mu.Unlock()
	select {
	case <-through:
		return true
	case <-gone:
		return false
	}
}

// lose has what is under way in a direction lost, and what follows.
func (l *line) lose(direction int) { l.once[direction].Do(func() { close(l.gone[direction]) }) }

// cut ends a line, with a reset or in good order; what is under way is lost.
func (l *line) cut(reset bool) {
	l.lose(0)
	l.lose(1)
	for _, c := range []*net.TCPConn{l.near, l.far} {
		if reset {
			_ = c.SetLinger(0)
		}
		c.Close()
	}
}

// pull cuts all lines, each time in another way, and returns which.
func (c *cable) pull() (how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled++
	way := c.pulled % len(ways)
	for l := range c.lines {
		switch ways[way] {
		case "closed", "reset":
			l.cut(ways[way] == "reset")
		case "half closed":
			l.lose(0)
		case "gone dark":
			l.dark = true
			time.AfterFunc(300*time.Millisecond, func() { l.cut(true) })
		}
	}
	return ways[way]
}

var ways = []string{"gone dark", "closed", "reset", "half closed"}

// close ends the cable and all that is in it.
func (c *cable) close() {
	c.listener.Close()
	c.mu.Lock()
	c.closed = true
	for l := range c.lines {
		l.cut(true)
	}
	c.mu.Unlock()
	c.wires.Wait()
}
