package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/env"
)

// A Config says what a hub is made of. Key and Transports are required.
type Config struct {
	// Key is the node's.
	Key identity.PrivateKey
	// Transports make the connections. They are the hub's: Close closes them.
	Transports []conn.Transport
	// Listen are the addresses at which connections are accepted. Default:
	// none are accepted.
	Listen []identity.Address
	// Endpoint says how the endpoints of members behave. Its callbacks must
	// not be set: those of the hub take their place. The default of Patience
	// is 1 s here, for there may be another address.
	Endpoint endpoint.Config
	// Journal returns the journal of a member's endpoint, which then lives on
	// when the hub or its process ends; nil: it has none. It is called by Add,
	// for one member at a time, and must not call the hub. Only an endpoint
	// that is closed, here or by the peer, leaves its journal empty; with that
	// of a member that was removed the channel goes on when it is added again.
	// Default: there are none.
	Journal func(peer identity.NodeID) endpoint.Journal
	// Authorize is asked about every connection to a member, incoming or
	// outgoing, each time. The other side is told of an error: its text, or
	// the error itself if it is a [*conn.CloseError]. Calls for several
	// connections may run at once; ctx ends after DialTime. Default: members
	// are taken.
	Authorize func(ctx context.Context, p conn.Peer) error
	// Backoff says how long to wait after failures. Default Exponential{}.
	Backoff Backoff
	// DialTime bounds each attempt to reach a member, over all its addresses.
	// Default 10 s.
	DialTime time.Duration
	// Stagger is the head start that an address has over the next one.
	// Default 250 ms.
	Stagger time.Duration
	// MoveBack is about how often addresses are dialled that are preferred to
	// the one in use; a quarter more or less. Negative: never. Default 30 s.
	MoveBack time.Duration
	// RenewWithin ends an endpoint whose connection has broken and was not
	// renewed within it. Default: never.
	RenewWithin time.Duration
	// MaxHandshakes bounds the incoming connections that are not yet
	// established. Where one more comes, the oldest is given up. Default 256.
	MaxHandshakes int
	// DrainTime bounds how long Close waits until members have taken what was
	// sent. Default 5 s.
	DrainTime time.Duration

	// OnConnect is called when a member is connected, and OnDisconnect when it
	// is not any more, with the reason. For each member, calls take turns. That
	// the channel has moved to another connection is not told. They should not
	// block: meanwhile that member's connection is not looked after.
	OnConnect    func(peer identity.NodeID)
	OnDisconnect func(peer identity.NodeID, err error)
	// OnDatagram is called with every datagram of a member
	// ([endpoint.Endpoint.SendDatagram]). p is valid until it returns. Calls
	// for several members may run at once. Default: datagrams are dropped.
	OnDatagram func(from identity.NodeID, p []byte)

	// Log receives what an operator should know. Default: nothing is logged.
	Log *slog.Logger
}

const defaultMaxHandshakes = 256

func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("hub: Config."+format, a...)) }
	span := func(name string, v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
		if *v < 0 {
			bad("%s is %v, want more than zero", name, *v)
		}
	}
	if c.Key.IsZero() {
		bad("Key is not set; identity.Generate makes one")
	}
	if len(c.Transports) == 0 {
		bad("Transports is empty; give at least one, such as tcp.New()")
	}
	if slices.Contains(c.Transports, nil) {
		bad("Transports has a nil")
	}
	if e := c.Endpoint; e.Receive != nil || e.OnReady != nil || e.OnDatagram != nil || e.OnRestart != nil || e.OnConnect != nil || e.OnDisconnect != nil {
		bad("Endpoint has callbacks; use Recv, which also returns restarts, and the callbacks of hub.Config")
	}
	if c.Endpoint.Journal != nil {
		bad("Endpoint.Journal is set; each member needs one of its own: use hub.Config.Journal")
	}
	if c.Endpoint.Patience == 0 {
		c.Endpoint.Patience = time.Second
	}
	if c.Endpoint.AckDelay == 0 {
		c.Endpoint.AckDelay = 20 * time.Millisecond // Close has to know
	}
	span("DialTime", &c.DialTime, 10*time.Second)
	span("Stagger", &c.Stagger, 250*time.Millisecond)
	span("RenewWithin", &c.RenewWithin, 0)
	span("DrainTime", &c.DrainTime, 5*time.Second)
	if c.MoveBack == 0 {
		c.MoveBack = 30 * time.Second
	}
	if c.MaxHandshakes == 0 {
		c.MaxHandshakes = defaultMaxHandshakes
	}
	if c.MaxHandshakes < 0 {
		bad("MaxHandshakes is %d, want more than zero", c.MaxHandshakes)
	}
	if c.Backoff == nil {
		c.Backoff = Exponential{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Transports, c.Listen = slices.Clone(c.Transports), slices.Clone(c.Listen)
	for _, addr := range c.Listen {
		if len(errs) == 0 && c.transport(addr.Scheme) == nil {
			bad("Listen has %s: %w", addr, c.noTransport(addr))
		}
	}
	return c, errors.Join(errs...)
}

// transport returns the first transport that knows a scheme, or nil.
func (c *Config) transport(scheme string) conn.Transport {
	for _, t := range c.Transports {
		if slices.Contains(t.Schemes(), scheme) {
			return t
		}
	}
	return nil
}

func (c *Config) noTransport(addr identity.Address) error {
	var have []string
	for _, t := range c.Transports {
		have = append(have, t.Schemes()...)
	}
	return fmt.Errorf("there is no transport for %s://; Config.Transports has %v", addr.Scheme, have)
}

// env returns the environment that the transports bring, or the real one.
func (c *Config) env() env.Env {
	for _, t := range c.Transports {
		if p, ok := t.(env.Provider); ok {
			return p.Env()
		}
	}
	return env.Real{}
}
