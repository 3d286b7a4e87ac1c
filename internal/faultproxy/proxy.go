package faultproxy

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// A Proxy forwards TCP connections to one target. Make it with [TCP] or
// [NewProxy].
//
//	client ──> socket ──> reader ──> queue ──> writer ──> socket ──> target
//	                                 delay     gates, traps, rate
type Proxy struct {
	target string
	cfg    Config
	addr   *net.TCPAddr
	anchor [2]net.Conn    // a connection to itself: keeps the port while nobody listens
	tasks  sync.WaitGroup // goroutines and timers

	refusing sync.Mutex // serialises Refuse and Close; before mu

	mu       sync.Mutex // guards what follows, and the traps
	listener *net.TCPListener
	accepted chan struct{} // closed when the loop of listener has ended
	closed   bool
	conns    []*Conn // live, the oldest first
	pace     Pace
	gates    [2]gate
	traps    []*trap
	timers   map[*time.Timer]struct{}
	stats    Stats
}

// Stats counts what a [Proxy] has done.
type Stats struct {
	Accepted uint64    // connections
	Live     int       // of them
	Unserved uint64    // connections that were reset because the target could not be dialled
	Bytes    [2]uint64 // forwarded, by Direction
	Dropped  [2]uint64 // read and not forwarded, by Direction
	Faults   [faults]uint64
}

// Broken returns how many faults of all kinds have struck.
func (s Stats) Broken() (n uint64) {
	for _, f := range s.Faults {
		n += f
	}
	return n
}

// NewProxy returns a proxy that listens at a free port of 127.0.0.1 and forwards
// to target, a "host:port".
func NewProxy(target string, cfg Config) (*Proxy, error) {
	if cfg.Buffer <= 0 {
		cfg.Buffer = defaultBuffer
	}
	cfg.Buffer = max(cfg.Buffer, 16)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{target: target, cfg: cfg, addr: l.Addr().(*net.TCPAddr), timers: map[*time.Timer]struct{}{}}
	for i, open := range []func() (net.Conn, error){
		func() (net.Conn, error) { return net.Dial("tcp", p.Addr()) },
		l.Accept,
	} {
		if p.anchor[i], err = open(); err != nil {
			l.Close()
			return nil, fmt.Errorf("faultproxy: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listen(l)
	return p, nil
}

// listen accepts connections. The caller holds mu.
func (p *Proxy) listen(l *net.TCPListener) {
	p.listener, p.accepted = l, make(chan struct{})
	ended := p.accepted
	p.tasks.Go(func() {
		defer close(ended)
		for {
			nc, err := l.AcceptTCP()
			if err != nil {
				return
			}
			p.tasks.Go(func() { p.serve(nc) })
		}
	})
}

// serve forwards one connection.
func (p *Proxy) serve(client *net.TCPConn) {
	p.mu.Lock()
	p.stats.Accepted++
	p.mu.Unlock()
	nc, err := net.DialTimeout("tcp", p.target, 10*time.Second)
	if err != nil {
		p.mu.Lock()
		p.stats.Unserved++
		p.mu.Unlock()
		_ = client.SetLinger(0)
		client.Close()
		return
	}
	c := newConn(p, client, nc.(*net.TCPConn))
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.abort()
		return
	}
	p.conns = append(p.conns, c)
	p.mu.Unlock()
	if p.cfg.OnConn != nil {
		p.cfg.OnConn(c)
	}
	c.run()
	p.mu.Lock()
	p.conns = slices.DeleteFunc(p.conns, func(o *Conn) bool { return o == c })
	p.traps = slices.DeleteFunc(p.traps, func(t *trap) bool { return t.conn == c })
	p.mu.Unlock()
}

// Addr returns where the proxy listens, always the same "127.0.0.1:port".
func (p *Proxy) Addr() string { return p.addr.String() }

// Conns returns the live connections, the oldest first: those for which the
// target has been dialled, so that one which has carried a byte is among them.
func (p *Proxy) Conns() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.conns)
}

// Stats returns what was counted so far.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Live = len(p.conns)
	return s
}

// Break breaks all connections of [Proxy.Conns] now, stalled ones too.
func (p *Proxy) Break(f Fault) {
	for _, c := range p.Conns() {
		c.Break(f)
	}
}

// Stall lets nothing more through in the directions given, both by default, on
// all connections and new ones. What is written meanwhile waits, until there
// is no room; closes wait too. It lasts until [Proxy.Heal].
func (p *Proxy) Stall(dirs ...Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stall(&p.gates, dirs)
}

// Heal ends Stall and Blackhole. Connections that were stalled by themselves
// remain so.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	heal(&p.gates)
}

// Blackhole stalls everything for a time. then is what befalls the connections
// at its end: 0 delivers what was written, as after a short outage; Reset is
// what a router that has forgotten them does.
func (p *Proxy) Blackhole(d time.Duration, then Fault) {
	p.mu.Lock()
	p.stats.Faults[Blackhole]++
	p.mu.Unlock()
	p.Stall()
	p.after(d, func() {
		if then != 0 {
			p.Break(then)
		}
		p.Heal()
	})
}

// after calls f after d, unless the proxy is closed before.
func (p *Proxy) after(d time.Duration, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	var timer *time.Timer
	p.tasks.Add(1)
	timer = time.AfterFunc(d, func() {
		defer p.tasks.Done()
		p.mu.Lock()
		delete(p.timers, timer)
		p.mu.Unlock()
		f()
	})
	p.timers[timer] = struct{}{}
}

// SetPace sets how fast bytes that are read from now on go through.
func (p *Proxy) SetPace(pace Pace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace = pace
}

// Refuse stops listening, or starts again at the same port: meanwhile dials
// are refused. Connections live on. It fails if the system does not give the
// port back.
func (p *Proxy) Refuse(refuse bool) error {
	p.refusing.Lock()
	defer p.refusing.Unlock()
	p.mu.Lock()
	l, ended, closed := p.listener, p.accepted, p.closed
	p.mu.Unlock()
	switch {
	case closed || refuse == (l == nil):
		return nil
	case refuse:
		l.Close()
		<-ended
		p.mu.Lock()
		p.listener = nil
		p.mu.Unlock()
		return nil
	}
	l, err := net.ListenTCP("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("faultproxy: listen again: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listen(l)
	return nil
}

// Close resets all connections, stops listening and waits until nothing is left
// running. Calls after the first do nothing.
func (p *Proxy) Close() error {
	p.refusing.Lock()
	defer p.refusing.Unlock()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	l, conns := p.listener, slices.Clone(p.conns)
	for timer := range p.timers {
		if timer.Stop() {
			p.tasks.Done()
		}
	}
	p.mu.Unlock()
	if l != nil {
		l.Close()
	}
	for _, c := range conns {
		c.abort()
	}
	for _, a := range p.anchor {
		a.Close()
	}
	p.tasks.Wait()
	return nil
}
