package endpoint

import (
	"errors"
	"fmt"
	"time"

	"github.com/plexus-net/plexus/internal/durable"
)

// A Config says how an endpoint behaves. The zero value works. A callback that
// panics ends the endpoint; its cause then wraps a [*PanicError].
type Config struct {
	// MaxMessage is the size of the largest message, in bytes, at most 8 MiB.
	// Both ends should have the same: a connection to an end that takes less is
	// refused. Default 1 MiB.
	MaxMessage int
	// Buffer is how many bytes of messages may wait until the peer has taken
	// them, each counted with 4 bytes more. At least MaxMessage + 4. Default
	// 4 MiB, or that.
	Buffer int
	// Window is how many bytes of messages may be under way to this end, or
	// wait here until they are taken. Default 1 MiB. A message that is larger
	// comes alone.
	Window int
	// AckDelay is how long the news that a message was taken may wait for
	// others. Default 20 ms.
	AckDelay time.Duration
	// Probe is how long a connection may be idle before it is probed. Default
	// 5 s. One on which something is under way is probed after half a second of
	// silence.
	Probe time.Duration
	// Patience is how long the answer to a probe is waited for, until the
	// connection is given up. It doubles, up to 30 s, while nothing gets
	// through. Default 2 s.
	Patience time.Duration
	// HandshakeTime bounds Carry. Default 10 s.
	HandshakeTime time.Duration

	// Journal keeps what the endpoint needs to live on when its process ends.
	// Sending then waits for the journal, TrySend too. Default: the life of the
	// endpoint ends with the process.
	Journal Journal

	// Receive is called with every message, one after the other, on the
	// goroutine that reads the connection; then there is no Recv. p is valid
	// until it returns. It must not block: nothing else is read meanwhile, not
	// even that this end's messages were taken.
	Receive func(p []byte)
	// OnDatagram is called with every datagram, as Receive is with messages.
	// Default: they are dropped.
	OnDatagram func(p []byte)
	// OnRestart is called when the peer has started anew, with the messages of
	// unknown fate, in the order sent; they are the callee's. It is called
	// before any message of the peer's new life arrives; with a Journal, New
	// calls it too, for what a former process was not done with. Default: Recv
	// returns them in a [*RestartError].
	OnRestart func(unknown [][]byte)
	// OnReady is called when TryRecv, which has failed with [ErrEmpty], has
	// something to return again, so that one goroutine can receive from many
	// endpoints. It may be called without need, must not block, and must not
	// call the endpoint.
	OnReady func()
	// OnConnect is called when the endpoint has moved to a connection, and
	// OnDisconnect when it has lost one and no other has taken its place. Calls
	// may come from several goroutines, and should not block.
	OnConnect    func()
	OnDisconnect func(err error)
}

const maxMessage = 8 << 20

func (c Config) withDefaults() (Config, error) {
	var errs []error
	count := func(name string, v *int, def, lo, hi int) {
		if *v == 0 {
			*v = def
		}
		if *v < lo || *v > hi {
			errs = append(errs, fmt.Errorf("endpoint: Config.%s is %d, want %d to %d", name, *v, lo, hi))
		}
	}
	span := func(name string, v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
		if *v < 0 {
			errs = append(errs, fmt.Errorf("endpoint: Config.%s is %v, want more than zero", name, *v))
		}
	}
	const many = 1 << 30
	count("MaxMessage", &c.MaxMessage, 1<<20, 1, maxMessage)
	count("Buffer", &c.Buffer, max(4<<20, c.MaxMessage+durable.Overhead), c.MaxMessage+durable.Overhead, many)
	count("Window", &c.Window, 1<<20, 1<<10, many)
	span("AckDelay", &c.AckDelay, 20*time.Millisecond)
	span("Probe", &c.Probe, 5*time.Second)
	span("Patience", &c.Patience, 2*time.Second)
	span("HandshakeTime", &c.HandshakeTime, 10*time.Second)
	return c, errors.Join(errs...)
}
