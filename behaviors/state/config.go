package state

import (
	"errors"
	"fmt"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/identity"
)

// What callers branch on.
var (
	// ErrNotRunning: the behaviour has not started, or has stopped.
	ErrNotRunning = errors.New("state: not running; register it with a node that runs")
	// ErrNoKey: the replica has no Config.Key to sign writes with.
	ErrNoKey = errors.New("state: this replica only reads: it has no Config.Key")
	// ErrDenied: Config.Allow does not let this node write the key.
	ErrDenied = errors.New("state: Config.Allow denies this write")
	// ErrClosed: the watcher is closed.
	ErrClosed = errors.New("state: watcher closed")
)

// A LimitError says that a write would exceed a limit, and which one.
type LimitError struct {
	Limit string // "MaxKeys", "MaxBytes" or "MaxTombstones" of Config, or "key size", "value size" or "stamp" of the format
	Max   uint64 // the value of the limit
	Want  uint64 // what the write would have needed
}

func (e *LimitError) Error() string {
	switch e.Limit {
	case "key size", "value size":
		return fmt.Sprintf("state: %s is %d bytes, at most %d are allowed", e.Limit, e.Want, e.Max)
	case "stamp":
		return "state: the key carries the last stamp there is; use another key"
	}
	return fmt.Sprintf("state: write needs %d, but Config.%s is %d; raise it on every node", e.Want, e.Limit, e.Max)
}

// A Config says how a replica behaves. The zero value is a replica that only
// reads. Domain, Grace and Allow must be the same on all nodes.
type Config struct {
	// Key signs the writes of this node: the node's own key. Default: none,
	// and Set and Delete fail with ErrNoKey.
	Key identity.PrivateKey
	// Domain is signed together with each entry, so that a write to one map
	// is never a write to another. At most 64 bytes. Default: "".
	Domain string
	// MaxKeys bounds the keys that have a value. Default 4096.
	MaxKeys int
	// MaxTombstones bounds the deleted keys that are remembered. Default
	// four times MaxKeys.
	MaxTombstones int
	// MaxBytes bounds the entries, tombstones included, as they are on the
	// wire: values, keys and 112 bytes each. Default 64 MiB.
	MaxBytes int
	// Grace is how long deleted keys are remembered, so that a node that
	// missed the deletion does not bring them back. Default 2 h.
	Grace time.Duration
	// MaxSkew is how far the stamps of others may draw this node's clock
	// ahead. Default 5 s.
	MaxSkew time.Duration
	// Interval is the mean time between rounds of anti-entropy, each with one
	// random peer. Default 1 s.
	Interval time.Duration
	// Batch is how long a write waits for others to be sent with. Default
	// 10 ms.
	Batch time.Duration
	// Fanout is to how many peers entries of others are passed on when they
	// are new here. Writes of this node go to every peer. Default 8.
	Fanout int
	// WatchQueue bounds the changed keys that wait for a watcher. Default
	// 1024.
	WatchQueue int
	// Allow says whether a node may write a key. It must be a pure function,
	// the same on all nodes: otherwise they never agree. It is called from
	// any goroutine. Default: every node may write every key.
	Allow func(writer identity.NodeID, key string) bool
	// OnChange is called on the behaviour's turn with the last value of each
	// key that has changed, within Batch. Default: none; see also Watch.
	OnChange func(a *agent.Behavior, c Change)
}

const maxDomain = 64

// withDefaults validates c and returns a copy with its zero fields filled in.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	count := func(name string, v *int, def int) {
		if *v == 0 {
			*v = def
		}
		if *v < 0 {
			errs = append(errs, fmt.Errorf("state: Config.%s is %d, want 1 or more", name, *v))
		}
	}
	span := func(name string, v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
		if *v < time.Millisecond {
			errs = append(errs, fmt.Errorf("state: Config.%s is %v, want 1 ms or more", name, *v))
		}
	}
	count("MaxKeys", &c.MaxKeys, 4096)
	count("MaxTombstones", &c.MaxTombstones, 4*c.MaxKeys)
	count("MaxBytes", &c.MaxBytes, 64<<20)
	count("Fanout", &c.Fanout, 8)
	count("WatchQueue", &c.WatchQueue, 1024)
	span("Grace", &c.Grace, 2*time.Hour)
	span("MaxSkew", &c.MaxSkew, 5*time.Second)
	span("Interval", &c.Interval, time.Second)
	span("Batch", &c.Batch, 10*time.Millisecond)
	if len(c.Domain) > maxDomain {
		errs = append(errs, fmt.Errorf("state: Config.Domain has %d bytes, at most %d are allowed", len(c.Domain), maxDomain))
	}
	return c, errors.Join(errs...)
}

// Stats counts what a replica holds and what it has seen. Counters only grow.
type Stats struct {
	Keys, Tombstones, Bytes int // held now

	Written   uint64 // writes of this node
	Accepted  uint64 // entries taken from peers
	Stale     uint64 // entries from peers that were known, or older than what was
	Ahead     uint64 // entries taken although they are stamped more than MaxSkew ahead
	Malformed uint64 // messages and entries that are not the format
	Version   uint64 // messages and entries of a version that is not known here
	Forged    uint64 // entries with a bad signature
	Denied    uint64 // entries that Allow refuses
	Overflow  uint64 // entries refused because of MaxKeys, MaxTombstones or MaxBytes
	Expired   uint64 // deletions from peers that are past Grace
	Throttled uint64 // entries and replies left for later because a peer asks too much
	Stray     uint64 // messages from elsewhere than a connected peer
	Unsent    uint64 // messages that a connection did not take; anti-entropy repairs it
	Rounds    uint64 // rounds of anti-entropy that this node began
	Equal     uint64 // rounds, begun by peers, that found both sides equal
}
