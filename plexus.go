// Package plexus starts a node with all batteries: QUIC and TCP, Kademlia
// routing, discovery, latency measurement, a replicated map, and an RPC client.
//
//	node, err := plexus.Start(ctx, plexus.Config{
//		Listen: []string{"quic://:4100"},
//		Join:   []string{"id@quic://seed.example:4100"},
//	})
//	defer node.Close(context.Background())
//	err = node.Register(70, &Hello{})            // a behaviour of your own
//	err = node.State.Set(ctx, "colour", []byte("blue"))
//	sum, err := Sum.Call(ctx, node.RPC, router.ToService(70), SumRequest{2, 3})
//
// Everything in it is assembled from the packages below: where its choices do
// not fit, use package network and assemble your own.
package plexus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/plexus-net/plexus/behaviors/discovery"
	"github.com/plexus-net/plexus/behaviors/latency"
	"github.com/plexus-net/plexus/behaviors/state"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/quic"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router/kademlia"
	"github.com/plexus-net/plexus/rpc"
)

// RPCService is what [Node.RPC] is registered under. It is private: other nodes
// see nothing of it. The other batteries have the IDs of their packages, 2 to 4;
// IDs from 16 on are free for behaviours of your own.
const RPCService identity.ServiceID = 1

// A Config says how a node is set up. The zero value makes a node with a new key
// that listens nowhere and knows nobody.
type Config struct {
	// Key is the node's identity. Default: a new one.
	Key identity.PrivateKey
	// Listen is where to accept connections, such as "quic://:4100". Default:
	// nowhere.
	Listen []string
	// Join is the peer addresses of nodes to join through.
	Join []string
	// Advertise is the addresses that others are told to dial. Default: those
	// of Listen that name a host.
	Advertise []string
	// Network is the name of the network. Default "plexus".
	Network string
	// Target is how many connections the node keeps. Default 4.
	Target int
	// Transports make the connections. Default: QUIC and TCP.
	Transports []conn.Transport
	// Durable has connections to nodes that are durable, too, survive what
	// breaks them; see network.Config.
	Durable bool
	// Limits bounds what the node spends.
	Limits network.Limits
	// Log receives what an operator should know. Default: nothing is logged.
	Log *slog.Logger
}

// A Node is a running node and its batteries.
type Node struct {
	*network.Node
	Router    *kademlia.Table
	Discovery *discovery.Discovery
	Latency   *latency.Latency
	State     *state.State
	RPC       *rpc.Client

	done chan struct{}
	err  error
}

// Start makes a node and runs it until ctx ends or it is closed. It returns
// when the node listens and every battery has started.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	n, err := assemble(&cfg)
	if err != nil {
		return nil, err
	}
	for _, address := range cfg.Listen {
		if _, err := n.Listen(ctx, address); err != nil {
			_ = n.Node.Close(ctx)
			return nil, err
		}
	}
	go func() {
		n.err = n.Run(ctx)
		close(n.done)
	}()
	select {
	case <-n.Started():
		return n, nil
	case <-n.done:
		return nil, n.err
	}
}

// assemble makes a node with its batteries registered.
func assemble(cfg *Config) (*Node, error) {
	if cfg.Key.IsZero() {
		key, err := identity.Generate()
		if err != nil {
			return nil, err
		}
		cfg.Key = key
	}
	if cfg.Transports == nil {
		cfg.Transports = []conn.Transport{quic.New(), tcp.NewWith(tcp.Config{Streams: -1})} // nodes take no streams
	}
	var seeds []identity.PeerAddress
	for _, s := range cfg.Join {
		p, err := identity.ParsePeerAddress(s)
		if err != nil {
			return nil, fmt.Errorf("plexus: Config.Join: %w", err)
		}
		if err := reachable(p, cfg.Transports); err != nil {
			return nil, err
		}
		if p.ID != cfg.Key.ID() {
			seeds = append(seeds, p)
		}
	}
	var advertise []identity.Address
	for _, s := range cfg.Advertise {
		a, err := identity.ParseAddress(s)
		if err != nil {
			return nil, fmt.Errorf("plexus: Config.Advertise: %w", err)
		}
		advertise = append(advertise, a)
	}
	n := &Node{Router: kademlia.New(cfg.Key.ID()), RPC: rpc.NewClient(), done: make(chan struct{})}
	var err error
	if n.Node, err = network.New(network.Config{Key: cfg.Key, Router: n.Router, Transports: cfg.Transports, Network: cfg.Network, Durable: cfg.Durable, Limits: cfg.Limits, Log: cfg.Log}); err != nil {
		return nil, err
	}
	n.Discovery = discovery.New(discovery.Config{Seeds: seeds, Key: cfg.Key, Target: cfg.Target, Directory: n.Router, Services: n.Services,
		Addresses: func() []identity.Address {
			if advertise != nil {
				return advertise
			}
			return named(n.Addresses())
		}})
	n.Latency = latency.New(latency.Config{})
	n.State = state.New(state.Config{Key: cfg.Key, Domain: cfg.Network})
	if err = n.Register(RPCService, n.RPC); err == nil {
		err = n.Register(discovery.Service, n.Discovery)
	}
	if err == nil {
		err = n.Register(latency.Service, n.Latency)
	}
	if err == nil {
		err = n.Register(state.Service, n.State)
	}
	return n, err
}

// reachable reports whether a transport can dial one of a peer's addresses.
func reachable(p identity.PeerAddress, transports []conn.Transport) error {
	var schemes []string
	for _, t := range transports {
		schemes = append(schemes, t.Schemes()...)
	}
	for _, a := range p.Addresses {
		if slices.Contains(schemes, a.Scheme) {
			return nil
		}
	}
	return fmt.Errorf("plexus: Config.Join: no transport dials %s; there are %s", p, strings.Join(schemes, ", "))
}

// named returns the addresses that somebody else can dial.
func named(all []identity.Address) []identity.Address {
	var out []identity.Address
	for _, a := range all {
		host, _, err := net.SplitHostPort(a.Host)
		if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
			continue
		}
		out = append(out, a)
	}
	return out
}

// PeerAddress returns how others reach the node: what Join of theirs takes.
func (n *Node) PeerAddress() identity.PeerAddress {
	return identity.PeerAddress{ID: n.Self(), Addresses: named(n.Addresses())}
}

// Done returns a channel that is closed when the node has stopped.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node has stopped, after Done is closed.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}
