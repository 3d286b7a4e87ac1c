package network

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/wire"
	"github.com/plexus-net/plexus/router"
)

// A Config says what a node is made of. Key and Router are required; zero means
// the default for all else.
type Config struct {
	// Key is the node's identity.
	Key identity.PrivateKey
	// Router finds the way of every message.
	Router router.Table
	// Transports make the connections, each for its address schemes. The node
	// closes them when it stops. Default: none, for a node without network.
	Transports []conn.Transport
	// Network is the name of the network, at most 64 bytes of printable
	// ASCII. Nodes of different networks do not connect. Default "plexus".
	Network string
	// Limits bounds what the node spends.
	Limits Limits
	// Log receives what an operator should know. Default: nothing is logged.
	Log *slog.Logger
	// Durable has connections to nodes that are durable, too, outlive what
	// carries them: when a transport's connection breaks, another takes its
	// place, over any transport, and messages arrive exactly once and in order.
	// Behaviours see one connection. It ends when none could be made within
	// Limits.ResumeTime, or the other node has started anew; the cause that
	// OnDisconnect is told is then a *conn.CloseError with the messages that are
	// not known to have arrived. Where this node has dialled, the connection
	// moves back to an address that is given before the one in use, when that
	// works again. Unreliable messages go as datagrams of what carries the
	// connection at the moment, where that has them, and are dropped while
	// there is nothing.
	Durable bool
	// StopOnPanic ends the node, with a *PanicError from Run, when a
	// behaviour panics. Default: that behaviour is stopped, or restarted if it
	// was registered with RegisterFunc.
	StopOnPanic bool
}

// Limits bounds what a node spends. Defaults suit 2 cores and 1 GiB.
type Limits struct {
	Conns          int           // connections. Default 1024
	ConnsPerHost   int           // incoming connections from one IPv4 address or IPv6 /64, loopback excepted. Default 64
	Message        int           // bytes of a payload, at most 8 MiB. Default 1 MiB
	RoutedWindow   int           // bytes of routed messages under way on a connection, at most 16 MiB. Default 1 MiB, or Message + 148 where that is more; at least that
	ConnEvents     int           // events that wait for the handlers of a connection. Default 4096
	Hops           int           // hops of a routed message, 1 to 255. Default 32
	Handshakes     int           // incoming handshakes at a time, per listener. Default 256
	HandshakeTime  time.Duration // for a connection to open. Default 10 s
	IdleTime       time.Duration // without a byte from the other end, which is probed at a third of it. Default 15 s
	WriteTime      time.Duration // for one write to a transport to finish. Default 10 s
	DialTime       time.Duration // for a dial, over all addresses. Default 20 s
	DialBackoff    time.Duration // between the first failed dial of a node and the next; it doubles up to DialBackoffMax. A durable connection tries addresses that are preferred to the one in use under the same back-off, from 16 times as long on. Default 500 ms
	DialBackoffMax time.Duration // Default 1 min
	ResumeTime     time.Duration // for a durable connection that broke to be carried by another. Default 30 s
	ShutdownTime   time.Duration // for a node to stop. Default 5 s
	SlowCallback   time.Duration // after which a callback that still runs is logged. Default 1 s
	RestartBackoff time.Duration // between a behaviour's first panic and its restart; it doubles up to 1 min. Default 1 s
}

// Bounds of the limits.
const (
	maxMessage = 8 << 20
	overhead   = 64 // what a message counts in a window beyond its payload
)

// withDefaults validates c and returns a copy with its zero fields filled in.
func (c Config) withDefaults() (Config, error) {
	if c.Key.IsZero() {
		return c, errors.New("network: Config.Key is missing; make one with identity.Generate or load it with identity.LoadKey")
	}
	if c.Router == nil {
		return c, errors.New("network: Config.Router is missing; use for example kademlia.New(key.ID()) or static.Local()")
	}
	if c.Network == "" {
		c.Network = "plexus"
	}
	if err := checkName("Config.Network", c.Network); err != nil {
		return c, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	seen := make(map[string]bool)
	for _, t := range c.Transports {
		if t == nil {
			return c, errors.New("network: Config.Transports holds nil")
		}
		for _, s := range t.Schemes() {
			if seen[s] {
				return c, fmt.Errorf("network: Config.Transports holds two transports for %s://", s)
			}
			seen[s] = true
		}
	}
	var err error
	c.Limits, err = c.Limits.withDefaults()
	return c, err
}

func checkName(what, name string) error {
	if len(name) > wire.MaxName {
		return fmt.Errorf("network: %s has %d bytes, at most %d are allowed", what, len(name), wire.MaxName)
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return fmt.Errorf("network: %s: byte %d is %#x, only printable ASCII is allowed", what, i+1, name[i])
		}
	}
	return nil
}

func (l Limits) withDefaults() (Limits, error) {
	var errs []error
	count := func(name string, v *int, def, lo, hi int) {
		if *v == 0 {
			*v = def
		}
		if *v < lo || *v > hi {
			errs = append(errs, fmt.Errorf("network: Limits.%s is %d, want %d to %d", name, *v, lo, hi))
		}
	}
	span := func(name string, v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
		if *v < 0 {
			errs = append(errs, fmt.Errorf("network: Limits.%s is %v, want more than zero", name, *v))
		}
	}
	const many = 1 << 30
	count("Conns", &l.Conns, 1024, 1, many)
	count("ConnsPerHost", &l.ConnsPerHost, 64, 1, many)
	count("Message", &l.Message, 1<<20, 1, maxMessage)
	count("RoutedWindow", &l.RoutedWindow, max(1<<20, l.Message+overhead+wire.RoutedHeader), l.Message+overhead+wire.RoutedHeader, wire.MaxWindow)
	count("ConnEvents", &l.ConnEvents, 4096, 1, many)
	count("Hops", &l.Hops, 32, 1, 255)
	count("Handshakes", &l.Handshakes, 256, 1, many)
	span("HandshakeTime", &l.HandshakeTime, 10*time.Second)
	span("IdleTime", &l.IdleTime, 15*time.Second)
	span("WriteTime", &l.WriteTime, 10*time.Second)
	span("DialTime", &l.DialTime, 20*time.Second)
	span("DialBackoff", &l.DialBackoff, 500*time.Millisecond)
	span("DialBackoffMax", &l.DialBackoffMax, time.Minute)
	span("ResumeTime", &l.ResumeTime, 30*time.Second)
	span("ShutdownTime", &l.ShutdownTime, 5*time.Second)
	span("SlowCallback", &l.SlowCallback, time.Second)
	span("RestartBackoff", &l.RestartBackoff, time.Second)
	return l, errors.Join(errs...)
}
