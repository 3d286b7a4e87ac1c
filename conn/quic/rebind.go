package quic

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/plexus-net/plexus/conn"
)

// Timings and limits of Rebind.
const (
	rebindTimeout = 10 * time.Second       // without a deadline of the caller
	rebindLook    = 250 * time.Millisecond // between looks at sockets that may be dead
	deadAfter     = 4 << 10                // bytes sent in vain that tell a socket dead
	maxMoves      = 64                     // connections that are moved at a time
	maxMoved      = 2                      // moves in the life of a connection
	parkAfter     = 3 * time.Second        // what is under way to a socket that was left still arrives
)

// Rebind opens a socket at local ("IP:port"; port 0 is any; an empty local is
// any address) and moves all connections that this transport has dialled to it,
// whichever socket they use: the new path is proven first, then the connection
// goes on over it. No handshake, nothing is lost, and callers see nothing of
// it, but that LocalAddr changes. Later dials go out of it too, unless a
// listening socket reaches the target. Call it when the network of the machine
// has changed, or is about to.
//
// With the quic-go of today, an end that was dialled follows two changes of
// address in the life of a connection (quic-go issue 5814), whether made by this
// or by a NAT. After that, Rebind leaves a connection where it is and says so.
//
// Connections that were accepted do not move, since QUIC has it that who dialled
// does; nor do those whose target local cannot reach. It returns when all are
// moved or ctx ends, after 10 s without a deadline; the error tells how many
// stay where they were. If that is all of them, nothing has changed.
func (t *Transport) Rebind(ctx context.Context, local string) error {
	if err := t.rebind(ctx, local); err != nil {
		return fmt.Errorf("quic: rebind to %q: %w", local, err)
	}
	return nil
}

func (t *Transport) rebind(ctx context.Context, local string) error {
	var at *net.UDPAddr
	if local != "" {
		var err error
		if at, err = localAddr(local); err != nil {
			return err
		}
	}
	ctx, end, err := t.dials.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	t.moving.Lock()
	defer t.moving.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, rebindTimeout)
		defer stop()
	}

	all, before := t.dialled()
	conns := slices.DeleteFunc(slices.Clone(all), func(c *connection) bool { return c.moved >= maxMoved })
	if len(all) > 0 && len(conns) == 0 {
		return stayed(len(all), len(all), errMoved)
	}
	fresh, err := t.freshSockets(at, conns, before)
	if err != nil {
		return err
	}
	watch, stopWatch := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { revive(watch, before, at) })
	stay, err := t.moveAll(ctx, conns, fresh)
	stopWatch()
	watching.Wait()
	t.settle(fresh, before, len(conns) == 0 || stay < len(conns))
	if spent := len(all) - len(conns); spent > 0 && stay == 0 {
		stay, err = spent, errMoved
	} else {
		stay += spent
	}
	if stay > 0 {
		return stayed(stay, len(all), err)
	}
	return nil
}

// errMoved is why a connection is not moved any more: a socket that it tries in
// vain stays open as long as it lives.
var errMoved = fmt.Errorf("a connection can be moved %d times; close it and dial again", maxMoved)

func stayed(n, all int, why error) error {
	return fmt.Errorf("%d of %d connections stay where they were: %w", n, all, why)
}

// dialled returns the connections that Rebind moves, and the sockets that serve
// dials alone.
func (t *Transport) dialled() (conns []*connection, shared []*socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sockets {
		for c := range s.conns {
			if c.target != nil {
				conns = append(conns, c)
			}
		}
		if s.shared && s.listener == nil && !s.retired {
			shared = append(shared, s)
		}
	}
	return conns, shared
}

// freshSockets opens the sockets to move to: at at or, if that is nil, one for
// each family that conns and the sockets before have. Each has one more user.
func (t *Transport) freshSockets(at *net.UDPAddr, conns []*connection, before []*socket) ([]*socket, error) {
	var places []*net.UDPAddr
	if at != nil {
		places = append(places, at)
	} else {
		places = families(conns, before)
	}
	var fresh []*socket
	for _, place := range places {
		udp, err := listenUDP(place)
		t.mu.Lock()
		if err == nil && t.closed {
			udp.Close()
			err = conn.ErrClosed
		}
		if err != nil {
			t.mu.Unlock()
			t.settle(fresh, nil, false)
			return nil, err
		}
		s := t.newSocket(udp, nil)
		s.shared, s.retired = true, true // no dials yet
		s.users++
		t.mu.Unlock()
		fresh = append(fresh, s)
	}
	return fresh, nil
}

// families returns any address of each family that is in use.
func families(conns []*connection, before []*socket) []*net.UDPAddr {
	var has [2]bool // IPv4, IPv6
	note := func(a *net.UDPAddr) {
		if a != nil && a.IP.To4() != nil {
			has[0] = true
		} else if a != nil {
			has[1] = true
		}
	}
	for _, c := range conns {
		note(c.target)
	}
	for _, s := range before {
		note(s.addr)
	}
	var places []*net.UDPAddr
	for i, ip := range []net.IP{net.IPv4zero, net.IPv6unspecified} {
		if has[i] {
			places = append(places, &net.UDPAddr{IP: ip})
		}
	}
	return places
}

// moveAll moves each of conns to the first of fresh that reaches its target. It
// returns how many stay where they were, and why one of them does.
func (t *Transport) moveAll(ctx context.Context, conns []*connection, fresh []*socket) (stay int, why error) {
	var mu sync.Mutex // guards stay and why
	var work sync.WaitGroup
	slots := make(chan struct{}, maxMoves)
	for _, c := range conns {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			err := fmt.Errorf("%s cannot be reached from there", c.target)
			for _, s := range fresh {
				if s.reaches(c.target) {
					err = t.move(ctx, c, s)
					break
				}
			}
			if err != nil && c.quic.Context().Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				stay++
				why = err
			}
		})
	}
	work.Wait()
	return stay, why
}

// move proves the path from s and has c use it.
func (t *Transport) move(ctx context.Context, c *connection, s *socket) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.quic.Context(), func() { cancel(context.Cause(c.quic.Context())) })()
	path, err := c.quic.AddPath(s.quic)
	if err != nil {
		return err
	}
	if !c.hold(s) {
		return context.Cause(c.quic.Context())
	}
	if err := path.Probe(ctx); err != nil {
		_ = path.Close() // it is not in use
		return fmt.Errorf("no answer from %s on the new path: %w", c.remote, err)
	}
	if err := path.Switch(); err != nil {
		_ = path.Close()
		return err
	}
	if c.path != nil {
		_ = c.path.Close() // gives its connection ID back: there are few
	}
	c.path = path
	c.moved++
	// The other end follows once it gets more than proofs over the new path. One
	// stream too many makes for a frame that asks for more, but none comes.
	_, _ = c.quic.OpenUniStream()
	c.local.Store(&s.at)
	c.use(s)
	return nil
}

// hold keeps s open as long as c lives: what quic-go has once told a Transport
// of a connection breaks with it. It returns false if c has ended.
func (c *connection) hold(s *socket) bool {
	t := s.transport
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.socket == nil {
		return false
	}
	c.held = append(c.held, s)
	s.users++
	return true
}

// use notes that c, which holds s, has moved to it.
func (c *connection) use(s *socket) {
	t := s.transport
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(c.held, s); i >= 0 && c.socket != nil {
		delete(c.socket.conns, c)
		s.conns[c] = struct{}{}
		c.held[i], c.socket = c.socket, s
	}
}

// revive watches sockets that serve dials alone, until ctx ends. quic-go does not
// prove a new path while the congestion window of the old one is full, and over
// a dead path nothing ever empties it. So where plenty was sent and nothing came,
// another UDP socket takes the place of the old one below the connections: they
// get an answer over it, and then move as the others do.
func revive(ctx context.Context, sockets []*socket, at *net.UDPAddr) {
	heard := make(map[*socket]uint64)
	for _, s := range sockets {
		if s.wire != nil && s.addr != nil {
			heard[s] = s.wire.reads.Load()
		}
	}
	tick := time.NewTicker(rebindLook)
	defer tick.Stop()
	for len(heard) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for s, reads := range heard {
			switch {
			case s.wire.reads.Load() != reads:
				delete(heard, s) // alive
			case s.wire.unanswered.Load() >= deadAfter:
				delete(heard, s)
				s.exchange(at)
			}
		}
	}
}

// exchange puts another UDP socket at any port below s.
func (s *socket) exchange(at *net.UDPAddr) {
	place := anyAddr(s.addr)
	if at != nil && (at.IP.To4() != nil) == (s.addr.IP.To4() != nil) {
		place = &net.UDPAddr{IP: at.IP, Zone: at.Zone}
	}
	udp, err := listenUDP(place)
	if err != nil {
		return // the connections may still be moved, if they are not stuck
	}
	// quic-go sets what it needs of a socket (no fragmenting, ECN, buffers) when
	// a Transport begins to use it. This one never does more than that.
	once := &quic.Transport{Conn: newWire(udp, false, func(*net.UDPAddr, error) {})}
	_ = once.Close()
	s.wire.exchange(udp)
}

// settle ends a Rebind. If it has moved, the fresh sockets take the place of
// those before. Those that are left close with the last connection that has ever
// used them; what they have of the system's goes sooner.
func (t *Transport) settle(fresh, before []*socket, moved bool) {
	t.mu.Lock()
	for _, s := range before {
		s.retired = moved
		s.users++ // as the fresh ones have, for the release below
	}
	for _, s := range fresh {
		s.retired = !moved
	}
	all := slices.Concat(fresh, before)
	for _, s := range all {
		if s.retired && len(s.conns)+len(s.dialling) == 0 && s.wire != nil {
			s.parking = time.AfterFunc(parkAfter, s.wire.park)
		}
	}
	t.mu.Unlock()
	for _, s := range all {
		s.release()
	}
}
