//go:build !js

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/conn/webtransport"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/identity"
)

// The natives are the nodes outside of the browser. Two have a door for tabs each;
// the third speaks nothing but TCP, and tabs reach it through the others.
//
//	tab ─┬─ cable ─ ws, wt ─ front ─┬─ tcp ─ back
//	     └─ cable ─ ws, wt ─ front ─┘
type natives struct {
	fronts []*member
	back   *member
	doors  []identity.PeerAddress // where tabs dial the fronts

	running sync.WaitGroup
}

// A plan says which natives to start.
type plan struct {
	transports  []string // for tabs: "wt" and "ws", the preferred one first
	origins     []string // of the page: host and port
	rate, count uint64   // of numbered messages; see NewMeter
	// through puts a cable between tabs and a front's transport.
	through func(conn.Transport) conn.Transport
}

// startNatives starts them. They run until ctx ends; wait for that with wait.
func startNatives(ctx context.Context, p plan) (*natives, error) {
	n := &natives{}
	var inner []identity.PeerAddress // where the natives dial each other
	for range 2 {
		front, err := n.startFront(ctx, p, inner)
		if err != nil {
			return n, err
		}
		doors := front.Addresses()
		slices.SortFunc(doors, func(a, b identity.Address) int {
			return slices.Index(p.transports, a.Scheme) - slices.Index(p.transports, b.Scheme)
		})
		n.fronts = append(n.fronts, front)
		inner = append(inner, identity.PeerAddress{ID: front.Self(), Addresses: doors[:1]}) // tcp, which is not among those of tabs
		n.doors = append(n.doors, identity.PeerAddress{ID: front.Self(), Addresses: doors[1:]})
	}
	back, err := newMember(parts{transports: []conn.Transport{tcp.New()}, seeds: inner, leaf: true, meter: NewMeter(false, 0, 0)})
	if err != nil {
		return n, err
	}
	n.back = back
	n.running.Go(func() { _ = back.Run(ctx) }) // its result is why it ended: because of ctx
	return n, nil
}

// startFront starts a node that tabs can dial.
func (n *natives) startFront(ctx context.Context, p plan, seeds []identity.PeerAddress) (*member, error) {
	m, err := newMember(parts{
		transports: []conn.Transport{
			tcp.New(), p.through(ws.NewWith(ws.Config{Origins: p.origins})), p.through(webtransport.NewWith(webtransport.Config{Origins: p.origins})),
		},
		seeds: seeds, meter: NewMeter(false, p.rate, p.count),
	})
	if err != nil {
		return nil, err
	}
	n.running.Go(func() { _ = m.Run(ctx) }) // its result is why it ended: because of ctx
	for _, scheme := range append([]string{"tcp"}, p.transports...) {
		if _, err := m.Listen(ctx, scheme+"://127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("a native node: %w", err)
		}
	}
	return m, nil
}

// wait returns when all have stopped.
func (n *natives) wait() { n.running.Wait() }
