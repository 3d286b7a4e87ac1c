package raw

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"
)

// A Config says how a [Node] listens, what it bounds and how long it waits. The
// zero value works. A number that is zero means the default, a negative one
// where it says so that there is no bound.
type Config struct {
	// Name tells nodes apart in logs. Default: none.
	Name string

	// Network is what package net calls it: "tcp", "tcp4", "tcp6" or "unix".
	// Default "tcp".
	Network string
	// Address is what [Node.Listen] listens on. Default ":0", any free port of
	// all interfaces; for "unix" there is none.
	Address string
	// NewListener, if set, is called by Listen instead of listening at Address:
	// for a socket that was inherited, say, or a listener that is not a socket.
	// The listener is the node's, which closes it. One node accepts in one
	// goroutine: what has to be read first, such as the PROXY header of a
	// balancer, is read by Handshake.
	NewListener func(ctx context.Context) (net.Listener, error)
	// Backlog is how many connections the system holds for a listener that does
	// not accept them yet. Default: the system's; on Linux net.core.somaxconn.
	Backlog int
	// ReusePort lets several nodes listen on one port, also in several
	// processes: the system spreads connections over them. See "Taking over a
	// port". Not on Windows.
	ReusePort bool
	// OnePerAddress makes a Connect to an address fail with [ErrDuplicate] while
	// another Connect to it is under way or its connection is there.
	OnePerAddress bool
	// ReplaceOlder, with OnePerAddress, lets a Connect to an address go ahead
	// whose connection is there: to renew one that may be dead. When its
	// handshake has succeeded the older connection ends with [Replaced]; until
	// that is removed there are two, which both count.
	ReplaceOlder bool

	// MaxConns bounds connections in both directions, those that are being made
	// included. Default 1024; negative: no bound.
	MaxConns int
	// MaxPerPrefix is that for connections with one IP prefix: those to hosts of
	// one network. What counts is the address of the socket, and then that of
	// the stream that Handshake returned, if it has another: behind a balancer
	// whose header it reads, connections in their handshake count for the
	// balancer, and then for where they come from. Default 64; negative: no
	// bound, and prefixes are not told apart at all.
	MaxPerPrefix int
	// IPv4Prefix and IPv6Prefix are the lengths in bits of what MaxPerPrefix
	// counts as one. IPv4 addresses that are written as IPv6 count as IPv4.
	// Defaults 32 and 64: an address, and what one customer usually gets.
	IPv4Prefix, IPv6Prefix int
	// MaxPending bounds connections that are being made, in each direction by
	// itself: dialled, or in their handshake. One more that is dialled fails. One
	// more that comes in takes the place of the oldest of the prefix that has
	// most of them, or is refused if its own prefix has its share: strangers need
	// as many prefixes as there are places to keep others out. Where each prefix
	// has one, or they are not told apart, it waits, and those after it wait in
	// the system's backlog. Default 128; negative: no bound.
	MaxPending int

	// ConnectTimeout bounds dialling. Default 5 s; negative: no bound.
	ConnectTimeout time.Duration
	// HandshakeTimeout bounds the Handshake of the protocols. Default 3 s;
	// negative: no bound.
	HandshakeTimeout time.Duration
	// IdleTimeout ends a connection when nothing was received for so long. The
	// time in callbacks does not count. Default 60 s; negative: never.
	IdleTimeout time.Duration
	// WriteTimeout ends a connection whose stream takes longer for one batch of
	// messages. Default 10 s; negative: never.
	WriteTimeout time.Duration
	// HookTimeout bounds OnConnect, OnDisconnect, and at the end of a connection
	// the return of callbacks and the last flush; before that end, where the peer
	// has closed, what still waits for OnMessage. Their contexts end then; a
	// callback that goes on nevertheless is left behind, counted and logged.
	// Default 3 s; negative: no bound.
	HookTimeout time.Duration

	// MaxFrame is the most bytes that the decoder gets to see without taking a
	// message, and the most that one message may take. Each connection may hold
	// so much while a message is under way: 1 GiB with the defaults of this and
	// of MaxConns, if all peers mean to. Default 1 MiB.
	MaxFrame int
	// Inbound says what happens to messages that come faster than OnMessage
	// takes them. Default [Block].
	Inbound Policy
	// InQueue is how many messages may wait for OnMessage, copied, while it
	// runs. Default for Block: none, the goroutine that reads calls OnMessage
	// with the message where it lies; for the other policies 64.
	InQueue int
	// OutMessages and OutBytes bound what waits to be written on one connection.
	// A message is taken as long as less waits, so that the last one may exceed
	// OutBytes by its own size. Defaults 65536 and 256 KiB.
	OutMessages, OutBytes int
	// SocketReadBuffer and SocketWriteBuffer are the sizes of the system's
	// buffers of each socket (SO_RCVBUF, SO_SNDBUF). Default: the system's, which
	// grow by themselves. Those of the node belong to pools and are held while
	// there is something in them.
	SocketReadBuffer, SocketWriteBuffer int

	// Log takes panics, callbacks that do not return, and failures to accept.
	// Default: nothing is logged; all is counted.
	Log *slog.Logger
}

// A Policy says what happens to a message that finds the queue to OnMessage
// full.
type Policy uint8

// The policies.
const (
	Block      Policy = iota // reading waits, so that the sender has to as well
	DropNewest               // it is dropped
	DropOldest               // the one that waits longest is dropped, it is taken
)

// Defaults of [Config].
const (
	defaultMaxConns     = 1024
	defaultMaxPerPrefix = 64
	defaultMaxPending   = 128
	defaultIPv4Prefix   = 32
	defaultIPv6Prefix   = 64

	defaultConnectTimeout   = 5 * time.Second
	defaultHandshakeTimeout = 3 * time.Second
	defaultIdleTimeout      = time.Minute
	defaultWriteTimeout     = 10 * time.Second
	defaultHookTimeout      = 3 * time.Second

	defaultMaxFrame    = 1 << 20
	defaultInQueue     = 64
	defaultOutMessages = 64 << 10
	defaultOutBytes    = 256 << 10
)

// networks are those that a node can listen and dial on.
var networks = []string{"tcp", "tcp4", "tcp6", "unix"}

// withDefaults checks c and returns it with its defaults filled in, where a
// bound that is off is negative for counts and zero for times.
func (c Config) withDefaults() (Config, error) {
	if c.Network == "" {
		c.Network = "tcp"
	}
	if c.Address == "" && c.Network != "unix" {
		c.Address = ":0"
	}
	if err := c.check(); err != nil {
		return c, err
	}
	set(&c.MaxConns, defaultMaxConns)
	set(&c.MaxPerPrefix, defaultMaxPerPrefix)
	set(&c.MaxPending, defaultMaxPending)
	set(&c.IPv4Prefix, defaultIPv4Prefix)
	set(&c.IPv6Prefix, defaultIPv6Prefix)
	set(&c.MaxFrame, defaultMaxFrame)
	set(&c.OutMessages, defaultOutMessages)
	set(&c.OutBytes, defaultOutBytes)
	if c.Inbound != Block {
		set(&c.InQueue, defaultInQueue)
	}
	setTime(&c.ConnectTimeout, defaultConnectTimeout)
	setTime(&c.HandshakeTimeout, defaultHandshakeTimeout)
	setTime(&c.IdleTimeout, defaultIdleTimeout)
	setTime(&c.WriteTimeout, defaultWriteTimeout)
	setTime(&c.HookTimeout, defaultHookTimeout)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Name != "" {
		c.Log = c.Log.With("node", c.Name)
	}
	return c, nil
}

func set(n *int, value int) {
	if *n == 0 {
		*n = value
	}
}

func setTime(d *time.Duration, value time.Duration) {
	switch {
	case *d == 0:
		*d = value
	case *d < 0:
		*d = 0
	}
}

// check finds what makes no sense, all of it.
func (c Config) check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("raw: Config."+format, args...))
		}
	}
	bad(!slices.Contains(networks, c.Network), `Network is %q; use "tcp", "tcp4", "tcp6" or "unix"`, c.Network)
	bad(c.IPv4Prefix < 0 || c.IPv4Prefix > 32, "IPv4Prefix is %d; use 1 to 32, or a negative MaxPerPrefix for no bound", c.IPv4Prefix)
	bad(c.IPv6Prefix < 0 || c.IPv6Prefix > 128, "IPv6Prefix is %d; use 1 to 128, or a negative MaxPerPrefix for no bound", c.IPv6Prefix)
	bad(c.Inbound > DropOldest, "Inbound is %d; use Block, DropNewest or DropOldest", c.Inbound)
	bad(c.ReusePort && !canReusePort, "ReusePort is set, which this system cannot do")
	bad(c.ReplaceOlder && !c.OnePerAddress, "ReplaceOlder is set without OnePerAddress; set both")
	bad(c.ReusePort && c.Network == "unix", `ReusePort is set, which there is not for "unix"`)
	for _, size := range []struct {
		name string
		n    int
	}{
		{"Backlog", c.Backlog}, {"MaxFrame", c.MaxFrame}, {"InQueue", c.InQueue}, {"OutMessages", c.OutMessages}, {"OutBytes", c.OutBytes},
		{"SocketReadBuffer", c.SocketReadBuffer}, {"SocketWriteBuffer", c.SocketWriteBuffer},
	} {
		bad(size.n < 0, "%s is %d; leave it zero for the default", size.name, size.n)
	}
	return errors.Join(errs...)
}
