package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/origin"
)

// Listen accepts connections at an address such as "quic://127.0.0.1:0" and
// returns the address with its real port. It may be called before Run:
// connections are accepted from then on.
func (n *Node) Listen(ctx context.Context, address string) (identity.Address, error) {
	addr, err := identity.ParseAddress(address)
	if err != nil {
		return identity.Address{}, err
	}
	t := n.transport(addr.Scheme)
	if t == nil {
		var schemes []string
		for _, t := range n.cfg.Transports {
			schemes = append(schemes, t.Schemes()...)
		}
		return identity.Address{}, fmt.Errorf("network: listen %s: no transport for %s://; Config.Transports has %v", addr, addr.Scheme, schemes)
	}
	n.mu.Lock()
	stopping := n.stopping
	n.mu.Unlock()
	if stopping {
		return identity.Address{}, agent.ErrStopped
	}
	l, err := t.Listen(ctx, n.local, addr)
	if err != nil {
		return identity.Address{}, fmt.Errorf("network: listen %s: %w", addr, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		l.Close()
		return identity.Address{}, agent.ErrStopped
	}
	n.listeners = append(n.listeners, l)
	n.running.add(1)
	n.env.Go(func() { n.accept(l) })
	return l.Addr(), nil
}

// Addresses returns the addresses that the node listens on.
func (n *Node) Addresses() []identity.Address {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []identity.Address
	for _, l := range n.listeners {
		out = append(out, l.Addr())
	}
	return out
}

// accept opens the connections that come in.
func (n *Node) accept(l conn.Listener) {
	defer n.running.done()
	if n.env.Wait(n.started, n.ctx.Done(), nil) == 1 {
		return
	}
	for n.ctx.Err() == nil {
		c, err := l.Accept(n.ctx)
		if err != nil {
			if errors.Is(err, conn.ErrClosed) || n.ctx.Err() != nil {
				return
			}
			n.cfg.Log.Warn("connection not accepted", "address", l.Addr(), "err", err)
			n.pause(n.ctx, acceptPause)
			continue
		}
		host, ok := n.takeHost(c.RemoteAddr())
		n.running.add(1)
		n.env.Go(func() {
			defer n.running.done()
			if !ok {
				defer n.releaseHost(host)
				n.count.limited.Add(1)
				_ = n.reject(c, &conn.CloseError{Code: conn.CodeLimit, Reason: "too many connections from this host (Limits.ConnsPerHost)"})
				return
			}
			ticket := n.beginOpening(c)
			_, err := n.open(n.ctx, &candidate{c: c, dir: conn.Incoming, host: host})
			n.endOpening(ticket)
			if err != nil {
				n.releaseHost(host)
				n.cfg.Log.Debug("connection refused", "remote", c.RemoteAddr(), "peer", c.Node().Short(), "err", err)
			}
		})
	}
}

// takeHost counts an incoming connection from a host, and reports whether the
// limit allows it. Loopback and transports without hosts are not counted.
func (n *Node) takeHost(a identity.Address) (host string, ok bool) {
	ip := origin.Parse(a.Host)
	if !ip.IsValid() || ip.IsLoopback() {
		return "", true
	}
	host = origin.Host(ip).String()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.perHost[host]++
	return host, n.perHost[host] <= n.cfg.Limits.ConnsPerHost
}

func (n *Node) releaseHost(host string) {
	if host == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.perHost[host]--; n.perHost[host] <= 0 {
		delete(n.perHost, host)
	}
}

// acceptPause is how long a listener rests after an error, such as too many open
// files.
const acceptPause = 50 * time.Millisecond

// pause waits for d and reports whether ctx has not ended meanwhile.
func (n *Node) pause(ctx context.Context, d time.Duration) bool {
	over := make(chan struct{})
	t := n.env.AfterFunc(d, func() { close(over) })
	defer t.Stop()
	return n.env.Wait(over, ctx.Done(), nil) == 0
}

// A handshake is an incoming connection that is about to open.
type handshake struct{ c conn.Conn }

// beginOpening notes an incoming connection that is about to open. Where there
// are too many, the oldest is given up.
func (n *Node) beginOpening(c conn.Conn) (ticket *handshake) {
	ticket = &handshake{c}
	n.mu.Lock()
	n.opening = append(n.opening, ticket)
	var oldest *handshake
	if len(n.opening) > n.cfg.Limits.Handshakes {
		oldest = n.opening[0]
		n.opening = slices.Delete(n.opening, 0, 1)
	}
	n.mu.Unlock()
	if oldest != nil {
		n.count.limited.Add(1)
		oldest.c.Close(&conn.CloseError{Code: conn.CodeLimit, Reason: "too many handshakes at a time (Limits.Handshakes)"})
	}
	return ticket
}

func (n *Node) endOpening(ticket *handshake) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.opening, ticket); i >= 0 {
		n.opening = slices.Delete(n.opening, i, i+1)
	}
}
