package kcp

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/xtaci/kcp-go/v5"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/udp"
)

const scheme = "kcp"

// farewell is how long Transport.Close lets connections finish that were closed
// just before.
const farewell = 200 * time.Millisecond

// errSocket ends the connections of a socket that is closed.
var errSocket = &conn.CloseError{Code: conn.CodeUnreachable, Reason: "the transport of the connection was closed"}

// A Transport makes KCP connections. It implements [conn.Transport] for the
// scheme "kcp". Each dial has a UDP socket of its own; a listener shares its
// socket with the connections that it accepted, until the last of them is
// closed. Make one with [New] or [NewWith].
type Transport struct {
	config  Config
	invalid error
	dials   *secure.Dials

	mu        sync.Mutex // guards what follows, and the doors of sockets
	closed    bool
	listeners map[*listener]struct{}
	sockets   map[*socket]struct{}
	sessions  map[*session]struct{}
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that listens nowhere yet.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration. If that is not valid, every Dial and
// Listen says so.
func NewWith(c Config) *Transport {
	t := &Transport{
		dials: secure.NewDials(), listeners: map[*listener]struct{}{},
		sockets: map[*socket]struct{}{}, sessions: map[*session]struct{}{},
	}
	t.config, t.invalid = c.withDefaults()
	return t
}

// Schemes returns "kcp".
func (t *Transport) Schemes() []string { return []string{scheme} }

func address(a net.Addr) identity.Address {
	return identity.Address{Scheme: scheme, Host: udp.HostPort(a)}
}

func hostPort(a identity.Address) (string, error) {
	if a.Scheme != scheme || a.Host == "" || a.Path != "" {
		return "", errors.New("not a kcp address; want kcp://host:port")
	}
	return a.Host, nil
}

// follow starts the session of u, of a socket or, if s is nil, of its own. Callers
// hold mu.
func (t *Transport) follow(u *kcp.UDPSession, local net.Addr, s *socket, open, forget func()) *link {
	l := newSession(u, &t.config, local, owner{shared: s != nil, open: open, forget: forget, left: func(ended *session) {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.sessions, ended)
		if s != nil {
			s.users--
			s.release()
		}
	}})
	t.sessions[l.session] = struct{}{}
	if s != nil {
		s.users++
	}
	return l
}

// Close closes the listeners and their sockets, and ends pending dials.
// Connections that were accepted break; those that were dialled live on. What
// was closed just before is given 200 ms to tell the other end.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	listeners := slices.Collect(maps.Keys(t.listeners))
	t.mu.Unlock()
	t.dials.Stop()
	for _, l := range listeners {
		l.Close()
	}
	t.dials.Wait()
	t.mu.Lock()
	var ending []*session
	for s := range t.sessions {
		switch {
		case s.leaving.Load():
			ending = append(ending, s)
		case s.owner.shared:
			s.kill(errSocket)
			ending = append(ending, s)
		}
	}
	sockets := make([]*socket, 0, len(t.sockets))
	for s := range t.sockets {
		sockets = append(sockets, s)
	}
	t.mu.Unlock()
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	late := timer.C
	for _, s := range ending {
		select {
		case <-s.gone:
			continue
		case <-late:
			late = closedTime
		}
		s.kill(errSocket)
		<-s.gone
	}
	for _, s := range sockets {
		s.loop.Wait() // it has no users any more
	}
	return nil
}

// closedTime is a timer that has fired for good.
var closedTime = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()
