package ws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A Transport makes WebSocket connections. It implements [conn.Transport] for
// the schemes "ws" and "wss". Make one with [New] or [NewWith].
type Transport struct {
	config Config
	wrong  error // with config
	dials  *secure.Dials

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[*listener]struct{}
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that listens nowhere yet.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration. If that is not valid, every Dial and
// Listen says so.
func NewWith(c Config) *Transport {
	return &Transport{config: c, wrong: c.check(), dials: secure.NewDials(), listeners: map[*listener]struct{}{}}
}

// Schemes returns "ws" and "wss".
func (t *Transport) Schemes() []string { return []string{"ws", "wss"} }

// Dial connects to the node at addr. Connecting, with all that HTTP and outer
// TLS need, and proving identities take at most local.HandshakeTimeout each. It
// goes through the HTTP proxy that the environment names (HTTPS_PROXY and so
// on), follows no redirect, and sends no cookies.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	c, err := t.dials.Run(ctx, func(ctx context.Context) (conn.Conn, error) {
		return t.dial(ctx, local.WithDefaults(), peer, addr)
	})
	if err != nil {
		return nil, fmt.Errorf("ws: dial %s: %w", addr, err)
	}
	return c, nil
}

// Listen accepts connections at the path of addr; no path is "/". Behind a proxy,
// the addresses of connections are those of the sockets between it and this node.
// In a browser it is an error.
func (t *Transport) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := t.listen(ctx, local.WithDefaults(), addr)
	if err != nil {
		return nil, fmt.Errorf("ws: listen at %s: %w", addr, err)
	}
	return l, nil
}

// Close closes the listeners and ends pending dials. Connections live on.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	all := slices.Collect(maps.Keys(t.listeners))
	t.mu.Unlock()
	t.dials.Stop()
	var err error
	for _, l := range all {
		err = errors.Join(err, l.Close())
	}
	t.dials.Wait()
	return err
}
