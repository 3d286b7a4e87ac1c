package faultproxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	maxClients = 1024    // of a relay; datagrams of more are dropped
	maxHeld    = 4096    // datagrams that wait in one direction of a client
	socketSize = 4 << 20 // asked for, so that the system drops none
	overtaken  = 20 * time.Millisecond
)

// A Weather is what befalls the datagrams of one direction. Probabilities are
// from 0 to 1, and are drawn for each datagram in the order of arrival. The
// zero value is fair.
type Weather struct {
	Drop      float64       // the datagram is lost
	Duplicate float64       // it arrives twice
	Reorder   float64       // the next one overtakes it; if there is none for 20 ms, it goes on
	Delay     time.Duration // how much later it arrives; order is kept
}

// A Relay passes datagrams between clients and one target, with one socket for
// each client: the target sees each at a port of its own. Make it with [UDP] or
// [NewRelay].
type Relay struct {
	socket *net.UDPConn // that clients talk to
	target netip.AddrPort
	tasks  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	rng     [2]*rand.Rand
	weather [2]Weather
	hole    bool
	refuse  bool
	closed  bool
	clients map[netip.AddrPort]*client
	timers  map[*time.Timer]struct{}
	stats   RelayStats
}

// RelayStats counts what a [Relay] has done.
type RelayStats struct {
	Clients    int       // now
	Rebinds    uint64    // sockets replaced
	Datagrams  [2]uint64 // passed on, by Direction, with duplicates
	Bytes      [2]uint64 // of them
	Dropped    [2]uint64 // by chance, a blackhole, Refuse or a limit
	Duplicated [2]uint64
	Reordered  [2]uint64
}

// A client is known by its address.
type client struct {
	addr   netip.AddrPort
	socket *net.UDPConn // to the target; guarded by Relay.mu
	lines  [2]line
}

// A line is the datagrams of one direction that wait. Guarded by Relay.mu.
type line struct {
	late []datagram // the delayed, in order
	held []byte     // to be overtaken
	hold int        // counts the held
}

type datagram struct {
	bytes []byte
	due   time.Time
}

// NewRelay returns a relay that listens at a free port of 127.0.0.1 for
// datagrams to target, a "host:port".
func NewRelay(target string, seed uint64) (*Relay, error) {
	to, err := net.ResolveUDPAddr("udp4", target)
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	socket, err := listenUDP()
	if err != nil {
		return nil, err
	}
	r := &Relay{
		socket: socket, target: unmap(to.AddrPort()), clients: map[netip.AddrPort]*client{}, timers: map[*time.Timer]struct{}{},
		rng: [2]*rand.Rand{rand.New(rand.NewPCG(seed, uint64(Up))), rand.New(rand.NewPCG(seed, uint64(Down)))},
	}
	r.tasks.Go(r.serve)
	return r, nil
}

func listenUDP() (*net.UDPConn, error) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	_ = socket.SetReadBuffer(socketSize) // the system may have less
	_ = socket.SetWriteBuffer(socketSize)
	return socket, nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Addr returns where the relay listens: "127.0.0.1:port".
func (r *Relay) Addr() string { return r.socket.LocalAddr().String() }

// serve takes what clients send.
func (r *Relay) serve() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.socket.ReadFromUDPAddrPort(buf)
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return
		}
		if err == nil { // other errors tell of clients that are gone
			if c := r.client(unmap(from)); c != nil {
				r.pass(c, Up, buf[:n])
			} else {
				r.stats.Dropped[Up]++
			}
		}
		r.mu.Unlock()
	}
}

// client returns the client at an address, nil if it is not let in. The caller
// holds mu.
func (r *Relay) client(from netip.AddrPort) *client {
	if c := r.clients[from]; c != nil {
		return c
	}
	if r.refuse || len(r.clients) == maxClients {
		return nil
	}
	socket, err := listenUDP()
	if err != nil {
		return nil
	}
	c := &client{addr: from, socket: socket}
	r.clients[from] = c
	r.tasks.Go(func() { r.answer(c, socket) })
	return c
}

// answer takes what the target sends to one socket of a client.
func (r *Relay) answer(c *client, socket *net.UDPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buf)
		r.mu.Lock()
		if r.closed || c.socket != socket {
			r.mu.Unlock()
			return
		}
		if err == nil && unmap(from) == r.target {
			r.pass(c, Down, buf[:n])
		}
		r.mu.Unlock()
	}
}

// pass decides what becomes of a datagram. The caller holds mu.
func (r *Relay) pass(c *client, dir Direction, b []byte) {
	w, rng := r.weather[dir], r.rng[dir]
	drop, twice, later := rng.Float64() < w.Drop, rng.Float64() < w.Duplicate, rng.Float64() < w.Reorder
	if r.hole || drop {
		r.stats.Dropped[dir]++
		return
	}
	l := &c.lines[dir]
	if later && l.held == nil {
		r.stats.Reordered[dir]++
		l.held = append([]byte{}, b...)
		l.hold++
		hold := l.hold
		r.after(overtaken, func() {
			if l.hold == hold {
				r.release(c, dir)
			}
		})
		return
	}
	r.send(c, dir, b, w.Delay)
	if twice {
		r.stats.Duplicated[dir]++
		r.send(c, dir, b, w.Delay)
	}
	r.release(c, dir)
}

// release sends what was held to be overtaken. The caller holds mu.
func (r *Relay) release(c *client, dir Direction) {
	l := &c.lines[dir]
	if b := l.held; b != nil {
		l.held = nil
		r.send(c, dir, b, r.weather[dir].Delay)
	}
}

// send sends a datagram, now or later. The caller holds mu.
func (r *Relay) send(c *client, dir Direction, b []byte, delay time.Duration) {
	l := &c.lines[dir]
	switch {
	case delay <= 0 && len(l.late) == 0:
		r.write(c, dir, b)
	case len(l.late) == maxHeld:
		r.stats.Dropped[dir]++
	default:
		l.late = append(l.late, datagram{append([]byte(nil), b...), time.Now().Add(delay)})
		if len(l.late) == 1 {
			r.after(delay, func() { r.flush(c, dir) })
		}
	}
}

// flush sends what is due. The caller holds mu.
func (r *Relay) flush(c *client, dir Direction) {
	l, now := &c.lines[dir], time.Now()
	for len(l.late) > 0 && !l.late[0].due.After(now) {
		r.write(c, dir, l.late[0].bytes)
		l.late = l.late[1:]
	}
	if len(l.late) > 0 {
		r.after(l.late[0].due.Sub(now), func() { r.flush(c, dir) })
	}
}

func (r *Relay) write(c *client, dir Direction, b []byte) {
	socket, to := c.socket, r.target
	if dir == Down {
		socket, to = r.socket, c.addr
	}
	if _, err := socket.WriteToUDPAddrPort(b, to); err != nil {
		r.stats.Dropped[dir]++ // as networks do
		return
	}
	r.stats.Datagrams[dir]++
	r.stats.Bytes[dir] += uint64(len(b))
}

// after calls f, with mu held, after d, unless the relay is closed before. The
// caller holds mu.
func (r *Relay) after(d time.Duration, f func()) {
	var timer *time.Timer
	r.tasks.Add(1)
	timer = time.AfterFunc(d, func() {
		defer r.tasks.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.timers, timer)
		if !r.closed {
			f()
		}
	})
	r.timers[timer] = struct{}{}
}

// SetWeather sets what befalls datagrams in both directions from now on.
func (r *Relay) SetWeather(w Weather) { r.SetWeatherOf(Up, w); r.SetWeatherOf(Down, w) }

// SetWeatherOf is SetWeather for one direction.
func (r *Relay) SetWeatherOf(dir Direction, w Weather) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.weather[dir] = w
}

// Blackhole drops all datagrams until [Relay.Heal]: UDP is blocked.
func (r *Relay) Blackhole() { r.setHole(true) }

// Heal ends Blackhole.
func (r *Relay) Heal() { r.setHole(false) }

func (r *Relay) setHole(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hole = on
}

// Refuse drops, while it is on, the datagrams of clients that are not known
// yet. Nobody is told.
func (r *Relay) Refuse(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = on
}

// Rebind gives every client another socket to the target, as a NAT does that has
// forgotten them: the target sees other ports, and what it still sends to the
// old ones is lost.
func (r *Relay) Rebind() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		if r.closed {
			break
		}
		socket, err := listenUDP()
		if err != nil {
			return err
		}
		old := c.socket
		c.socket = socket
		old.Close()
		r.stats.Rebinds++
		r.tasks.Go(func() { r.answer(c, socket) })
	}
	return nil
}

// Stats returns what was counted so far.
func (r *Relay) Stats() RelayStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Clients = len(r.clients)
	return s
}

// Close ends the relay and waits until nothing is left running. Calls after the
// first do nothing.
func (r *Relay) Close() error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		for timer := range r.timers {
			if timer.Stop() {
				r.tasks.Done()
			}
		}
		r.socket.Close()
		for _, c := range r.clients {
			c.socket.Close()
		}
	}
	r.mu.Unlock()
	r.tasks.Wait()
	return nil
}
