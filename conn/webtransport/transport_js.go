package webtransport

import (
	"context"
	"fmt"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/secure"
	"github.com/plexus-net/plexus/identity"
)

// A Transport makes WebTransport connections. It implements [conn.Transport] for
// the scheme "wt". Make one with [New] or [NewWith].
type Transport struct {
	wrong   error // with the configuration
	dials   *secure.Dials
	closing sync.WaitGroup // closed streams that the browser is not done with
}

var _ conn.Transport = (*Transport)(nil)

// New returns a transport that dials.
func New() *Transport { return NewWith(Config{}) }

// NewWith is [New] with a configuration, of which a browser needs nothing. If that
// is not valid, every Dial says so.
func NewWith(c Config) *Transport {
	return &Transport{wrong: c.check(), dials: secure.NewDials()}
}

// Schemes returns "wt".
func (t *Transport) Schemes() []string { return []string{scheme} }

// Listen fails: a browser cannot listen.
func (t *Transport) Listen(_ context.Context, _ conn.Local, addr identity.Address) (conn.Listener, error) {
	return nil, fmt.Errorf("webtransport: listen at %s: a browser cannot listen; be reached over connections that this node dials", addr)
}

// Dial connects to the node at addr, within local.HandshakeTimeout. The browser
// checks the outer certificate by the hashes in addr, or, without any, by its
// usual rules.
func (t *Transport) Dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	c, err := t.dials.Run(ctx, func(ctx context.Context) (conn.Conn, error) {
		return t.dial(ctx, local.WithDefaults(), peer, addr)
	})
	if err != nil {
		return nil, fmt.Errorf("webtransport: dial %s: %w", addr, err)
	}
	return c, nil
}

func (t *Transport) dial(ctx context.Context, local conn.Local, peer identity.NodeID, addr identity.Address) (conn.Conn, error) {
	to, err := t.check(local.Key, peer, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, local.HandshakeTimeout)
	defer cancel()
	s, err := open(ctx, to, &t.closing)
	if err != nil {
		return nil, err
	}
	inner, err := secure.Client(ctx, s, local, peer, identity.Address{}, addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	_, err = offerBinding(inner, nil)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		inner.Close(err)
		return nil, err
	}
	return &connection{Conn: inner, before: inner.Stats()}, nil
}

// Close ends pending dials, and waits until the browser is done with connections
// that were closed: the program may exit then. Others live on.
func (t *Transport) Close() error {
	t.dials.Stop()
	t.dials.Wait()
	t.closing.Wait()
	return nil
}

// A connection is one of conn/secure, without what was said before it.
type connection struct {
	conn.Conn
	before conn.TransportStats
}

// Stats returns the bytes of the stream; the browser tells nothing else.
func (c *connection) Stats() conn.TransportStats {
	s := c.Conn.Stats()
	return conn.TransportStats{BytesSent: s.BytesSent - c.before.BytesSent, BytesReceived: s.BytesReceived - c.before.BytesReceived}
}

// Features tells of none: the layers are not bound together.
func (c *connection) Features() conn.Features { return conn.Features{} }
