//go:build !js

package webtransport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
	"github.com/plexus-net/plexus/internal/quicgo"
	"github.com/plexus-net/plexus/internal/race"
	"github.com/plexus-net/plexus/internal/udp"
)

// A Transport makes WebTransport connections. It implements [conn.Transport] for
// the scheme "wt". Make one with [New] or [NewWith].
type Transport struct {
	config Config
	wrong  error // with config
	dials  *secure.Dials
	work   sync.WaitGroup // goroutines that follow connections
	lost   *race.Memory[string, netip.AddrPort]
	// resolve returns the addresses of host:port in the order to try them.
	resolve func(ctx context.Context, hostPort string) ([]netip.AddrPort, error)

	mu      sync.Mutex // guards what follows, and the sockets
	closed  bool
	sockets map[*socket]struct{}
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that has no socket yet.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration. If that is not valid, every Dial and
// Listen says so.
func NewWith(c Config) *Transport {
	quicgo.Quiet()
	return &Transport{
		config: c, wrong: c.check(), dials: secure.NewDials(), resolve: udp.Resolve,
		lost:    race.NewMemory[string, netip.AddrPort](env.Real{}, race.MemoryConfig{Peers: maxNames}),
		sockets: map[*socket]struct{}{},
	}
}

// Schemes returns "wt".
func (t *Transport) Schemes() []string { return []string{scheme} }

// Dial connects to the node at addr, within local.HandshakeTimeout. UDP does not
// tell that nobody listens: that takes the whole time. If the host is a name
// with several addresses, they race (RFC 8305): another one starts every 250 ms,
// or when one has failed; the first that proves to be the peer wins, and the
// others are given up. One that has lost is tried after the others for a while.
// Hashes in the address are for browsers and make no difference: conn/secure
// proves the node.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	c, err := t.dials.Run(ctx, func(ctx context.Context) (conn.Conn, error) {
		return t.dial(ctx, local.WithDefaults(), peer, addr)
	})
	if err != nil {
		return nil, fmt.Errorf("webtransport: dial %s: %w", addr, err)
	}
	return c, nil
}

// Listen accepts connections at the path of addr; no path is "/". The address of
// the listener has the hashes of the certificates of this period of twelve days
// and of the next, unless [Config.TLS] has one: tell it to browsers anew in the
// meantime. Hashes in addr are left out.
func (t *Transport) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := t.listen(ctx, local.WithDefaults(), addr)
	if err != nil {
		return nil, fmt.Errorf("webtransport: listen at %s: %w", addr, err)
	}
	return l, nil
}

// Close closes the listeners, ends pending dials and closes all connections,
// which use the sockets, with [conn.CodeShutdown].
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	var listeners []*listener
	for s := range t.sockets {
		if s.listener != nil {
			listeners = append(listeners, s.listener)
		}
	}
	t.mu.Unlock()
	t.dials.Stop()
	for _, l := range listeners {
		l.Close()
	}
	t.dials.Wait()

	t.mu.Lock()
	var conns []*connection
	for s := range t.sockets {
		conns = slices.AppendSeq(conns, maps.Keys(s.conns))
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close(&conn.CloseError{Code: conn.CodeShutdown})
	}
	t.work.Wait()

	t.mu.Lock()
	sockets := slices.Collect(maps.Keys(t.sockets))
	clear(t.sockets)
	t.mu.Unlock()
	var err error
	for _, s := range sockets {
		err = errors.Join(err, s.close())
	}
	return err
}
