package discovery

import (
	"fmt"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A Config configures a [Discovery]. The zero value works: such a node finds
// others, but tells nobody of itself and knows nobody to begin with.
type Config struct {
	// Seeds are nodes to join through. They are never forgotten: the node
	// dials them whenever it is alone, and now and then those that it has
	// not heard of for long, so that a split network grows together again.
	// Default: none; the node waits for others to connect.
	Seeds []identity.PeerAddress
	// Key signs this node's record; it must be the node's own. Default: none;
	// the node has no record, and others do not learn of it.
	Key identity.PrivateKey
	// Addresses returns where this node can be dialled. It is asked at every
	// tick, on the behaviour's turn, and must not block; unspecified hosts,
	// multicast hosts and port 0 are left out, and of the rest the first 16
	// are told, or as many as fit into 2 KiB. Default: none; others know of the node but cannot dial it.
	Addresses func() []identity.Address
	// Services returns what this node serves, as Addresses does. At most the
	// first 64 are told, or as many as fit into 2 KiB after the addresses.
	// Default: none.
	Services func() []conn.Service
	// Directory, usually the router table, is told which services the known
	// nodes serve. Default: none.
	Directory router.Directory

	// Target is how many connections the node keeps if its buckets do not
	// need more. Default 4.
	Target int
	// Max is the number of connections from which on the node dials no more.
	// It does not close connections that others have made and need. Default
	// 64, at least Target.
	Max int
	// MaxDials bounds the dials at a time. Default 8.
	MaxDials int
	// MaxNodes bounds the known nodes. Default 4096, at most 65536.
	MaxNodes int

	// Interval is that of OnTick, at which news is gossiped. Default 250 ms.
	Interval time.Duration
	// TTL is the lifetime of this node's record, which is renewed three to
	// four times within it. A node that does not renew its record is forgotten. Where
	// more than 40 nodes are known it is longer in proportion, at most ten
	// times, so that renewals cost the same in networks of 40 and of 400
	// nodes. Default 60 s, at least 1 s, at most 24 h.
	TTL time.Duration
	// Retention is for how long forgotten nodes, at most 1024, are remembered
	// as dead: their old records are refused, and now and then one of them
	// is dialled to see if a split network can grow together. Default 24 h.
	Retention time.Duration
	// AntiEntropy is the interval at which the node compares what it knows
	// with one neighbour, in turn. Default 10 s.
	AntiEntropy time.Duration
	// Heal is the mean interval at which the network, all nodes together,
	// dials seeds and forgotten nodes that are not known to be alive.
	// Default 10 s.
	Heal time.Duration
	// Backoff is the delay after the first failed dial of a node. It doubles
	// with each failure and is drawn from the upper half of that. Default
	// 500 ms.
	Backoff time.Duration
	// MaxBackoff bounds the delay. Default 30 s.
	MaxBackoff time.Duration
	// TrimAge is how old a connection is before it may be found redundant.
	// Default 1.5 s.
	TrimAge time.Duration
}

// Bounds of what is not configured.
const (
	nodesLimit     = 1 << 16         // of Config.MaxNodes
	maxDead        = 1024            // forgotten nodes that are remembered
	freeNodes      = 40              // known nodes from which on TTL grows in proportion
	renewalBatches = 30              // times in TTL that renewals are announced
	maxGrowth      = 10              // times TTL at most
	stableAfter    = 5 * time.Second // a connection that lasts this long was a success
	avoidTrimmed   = time.Minute     // during which what was trimmed is not dialled anew
	dialPatience   = time.Minute     // after which a dial without an answer is given up
	askPatience    = 2 * time.Second // after which a request without an answer is given up
	leaveTimeout   = 5 * time.Second // after which a connection that should close is kept
)

// withDefaults returns c with its zero fields set and the others checked.
func (c Config) withDefaults() Config {
	for _, f := range []struct {
		v   *int
		def int
	}{{&c.Target, 4}, {&c.Max, 64}, {&c.MaxDials, 8}, {&c.MaxNodes, 4096}} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.Interval, 250 * time.Millisecond}, {&c.TTL, time.Minute}, {&c.Retention, 24 * time.Hour},
		{&c.AntiEntropy, 10 * time.Second}, {&c.Heal, 10 * time.Second}, {&c.Backoff, 500 * time.Millisecond},
		{&c.MaxBackoff, 30 * time.Second}, {&c.TrimAge, 1500 * time.Millisecond},
	} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	c.Max = max(c.Max, c.Target)
	c.MaxNodes = min(c.MaxNodes, nodesLimit)
	c.TTL = min(max(c.TTL, time.Second), maxLifetime)
	c.MaxBackoff = max(c.MaxBackoff, c.Backoff)
	return c
}

// advertised returns what this node says of itself: each address once and only
// those that another node could dial, then services, as far as a record has
// room for them.
func (c Config) advertised() (addresses []identity.Address, services []conn.Service) {
	room := maxRecord - minRecord
	if c.Addresses != nil {
		for _, a := range c.Addresses() {
			size := 1 + len(a.String())
			if len(addresses) < maxAddresses && size <= min(room, 1+maxAddressText) && dialable(a) && !slices.Contains(addresses, a) {
				addresses = append(addresses, a)
				room -= size
			}
		}
	}
	if c.Services != nil {
		for _, s := range c.Services() {
			size := 2 + 4 + 1 + len(s.Name)
			if len(services) < maxServices && size <= room && len(s.Name) <= maxServiceName && s.ID != 0 {
				services = append(services, s)
				room -= size
			}
		}
	}
	return addresses, services
}

// checkKey says what is wrong with the key of a node.
func (c Config) checkKey(self identity.NodeID) error {
	if c.Key.IsZero() || c.Key.ID() == self {
		return nil
	}
	return fmt.Errorf("discovery: Config.Key is of node %s, but this is node %s; pass the node's own key", c.Key.ID().Short(), self.Short())
}
