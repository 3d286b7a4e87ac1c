package faultproxy

import (
	"fmt"
	"testing"
	"time"
)

// A Direction is one of the two that bytes take.
type Direction uint8

// The directions.
const (
	Up   Direction = iota // from the client to the target
	Down                  // from the target to the client
)

// String returns "up" or "down".
func (d Direction) String() string { return [...]string{"up", "down"}[d&1] }

// A Fault is a way to break a TCP connection.
type Fault uint8

// The faults. What has not been forwarded when they strike is lost.
const (
	_ Fault = iota
	// Close closes the connection in order: both ends read what was forwarded,
	// then io.EOF. What they still write is read and dropped, until they close.
	Close
	// Reset resets it at both ends.
	Reset
	// HalfUp ends the direction Up: the target reads io.EOF, and what the
	// client still writes is dropped. The other direction goes on.
	HalfUp
	// HalfDown is the same in the direction Down.
	HalfDown
	// Blackhole lets nothing through, in all connections and new ones, for the
	// time that the [Stroke] says. It is for storms.
	Blackhole
	faults
)

// String returns the name of the fault.
func (f Fault) String() string {
	names := [faults]string{"nothing", "close", "reset", "half close up", "half close down", "blackhole"}
	if f < faults {
		return names[f]
	}
	return fmt.Sprintf("fault %d", uint8(f))
}

// A Pace is how fast bytes go through, in each direction of each connection.
// The zero value is as fast as possible.
type Pace struct {
	// Delay is how long after it was read a byte is forwarded. Up to
	// Config.Buffer bytes are on their way meanwhile.
	Delay time.Duration
	// Rate bounds the bytes forwarded in a second. Default: none.
	Rate int64
}

// A Config says how a [Proxy] forwards.
type Config struct {
	// Buffer is how many bytes wait in the proxy in each direction, beside
	// those in sockets. Default 256 KiB, at least 16.
	Buffer int
	// Socket is the size asked for of the buffers of each socket. The system
	// has a minimum of its own. Default: the system's choice.
	Socket int
	// OnConn is called with each new connection before anything is forwarded
	// on it, on a goroutine of the proxy: here faults are set on connections
	// from their first byte on. Default: nothing.
	OnConn func(c *Conn)
}

const defaultBuffer = 256 << 10

// TCP returns a proxy to target, a "host:port", that ends with the test.
func TCP(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := NewProxy(target, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// UDP returns a relay to target, a "host:port", that ends with the test. What
// befalls datagrams depends on seed and their order.
func UDP(t testing.TB, target string, seed uint64) *Relay {
	t.Helper()
	r, err := NewRelay(target, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
