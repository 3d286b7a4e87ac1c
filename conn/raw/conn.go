package raw

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/batch"
	"github.com/plexus-net/plexus/internal/fd"
)

// A Conn is a connection of a [Node]: the stream that the handshake returned, and
// the protocols on it. Its methods may be called from any goroutine.
//
//	       reader goroutine                            finisher goroutine
//	OnConnect ─> read ─> decode ─> OnMessage ─┐   ┌─> OnDisconnect ─> flush ─> close ─> removed
//	                                          └───┘
//	     first cause of an end: Disconnect, error, time-out, panic, Shutdown
type Conn struct {
	node        *Node
	id          identity.ConnID
	direction   conn.Direction
	slot        *slot
	target      string   // of OnePerAddress
	nc          net.Conn // what was dialled or accepted
	stream      net.Conn // what the handshake made of it
	local       net.Addr
	remote      net.Addr
	opened      time.Time
	ctx         context.Context // ends with the connection; the cause is ended
	cancel      context.CancelCauseFunc
	ended       atomic.Pointer[EndError] // the first cause
	quiet, done chan struct{}            // closed when callbacks have returned; when it is removed

	out     *batch.Writer
	socket  syscall.RawConn // of stream; nil: it has none that can be written without waiting
	answers atomic.Bool     // what is sent next answers what was read last
	encoder Encoder         // nil: none; used under the lock of out
	decoder Decoder         // nil: none; of the reader

	idle     *time.Timer  // nil: no IdleTimeout
	waiting  atomic.Int64 // since when the reader waits, in nanoseconds after node.started; 0: it does not
	inbox    *inbox       // nil: OnMessage is called by the reader
	received atomic.Uint64
	bytesIn  atomic.Uint64
	dropped  atomic.Uint64
}

func newConn(a *attempt, nc, stream net.Conn) *Conn {
	n := a.node
	c := &Conn{
		node: n, id: a.id, direction: a.direction, slot: a.slot, target: a.target, nc: nc, stream: stream,
		local: addrOf(stream.LocalAddr(), nc.LocalAddr()), remote: addrOf(stream.RemoteAddr(), nc.RemoteAddr()), opened: time.Now(),
		quiet: make(chan struct{}), done: make(chan struct{}),
	}
	switch s := stream.(type) {
	case *net.TCPConn, *net.UnixConn:
		if raw, err := s.(syscall.Conn).SyscallConn(); err == nil && fd.Works {
			c.socket = raw
		}
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.out = batch.New(sink{c}, batch.Config{MaxBytes: n.config.OutBytes, MaxFrames: n.config.OutMessages, WriteTimeout: n.config.WriteTimeout})
	if n.config.InQueue > 0 && n.protocols.receiver != nil {
		c.inbox = newInbox(c)
	}
	return c
}

// noAddr is the address of a stream that has none.
type noAddr struct{}

func (noAddr) Network() string { return "none" }
func (noAddr) String() string  { return "" }

func addrOf(a, b net.Addr) net.Addr {
	switch {
	case a != nil:
		return a
	case b != nil:
		return b
	}
	return noAddr{}
}

// makeCodecs asks the protocols for a decoder and an encoder.
func (c *Conn) makeCodecs() error {
	p := c.node.protocols
	i := Info{ID: c.id, Direction: c.direction, Local: c.local, Remote: c.remote, Opened: c.opened}
	if p.decoders != nil {
		if err := guard("NewDecoder", func() error { c.decoder = p.decoders.NewDecoder(i); return nil }); err != nil {
			return err
		}
	}
	if p.encoders != nil {
		return guard("NewEncoder", func() error { c.encoder = p.encoders.NewEncoder(i); return nil })
	}
	return nil
}

// ID returns what names the connection within its node. It is never reused.
func (c *Conn) ID() identity.ConnID { return c.id }

// Stream returns what the handshake returned, or else the socket, for its options
// and for what a type of the user's knows. It is not to be read, written or
// closed.
func (c *Conn) Stream() net.Conn { return c.stream }

// An Info describes a connection.
type Info struct {
	ID            identity.ConnID
	Direction     conn.Direction // who dialled
	Local, Remote net.Addr       // never nil
	Opened        time.Time
	Stats         Stats
	Queues        Queues
}

// Info describes the connection as it is now. It works after its end, too.
func (c *Conn) Info() Info {
	return Info{ID: c.id, Direction: c.direction, Local: c.local, Remote: c.remote, Opened: c.opened, Stats: c.Stats(), Queues: c.queues()}
}

// Context ends when the connection does; the cause is an [*EndError].
func (c *Conn) Context() context.Context { return c.ctx }

// Done is closed when the connection is removed: OnDisconnect has returned, the
// stream is closed, and its place is free.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, nil as long as it has not.
func (c *Conn) Err() error {
	if e := c.ended.Load(); e != nil {
		return e
	}
	return nil
}

// Disconnect begins to end the connection and returns at once; wait for
// [Conn.Done], but not in a callback of it. What was sent before, and what
// OnDisconnect sends, is still written, as far as HookTimeout allows. A cause that
// is or wraps an [Origin], such as [Replaced], sets it; else it is [User]. Calls
// after the end has begun do nothing.
func (c *Conn) Disconnect(cause error) { c.end(endError(cause)) }

// end ends the connection for a cause, unless it has one.
func (c *Conn) end(e *EndError) {
	if !c.ended.CompareAndSwap(nil, e) {
		return
	}
	c.node.counts.ended[e.Origin].Add(1)
	c.cancel(e)
	go c.finish(e)
}

// A sink is the stream as the writer sees it: the connection ends when it fails.
type sink struct{ c *Conn }

func (s sink) SetWriteDeadline(t time.Time) error { return s.c.stream.SetWriteDeadline(t) }

func (s sink) Write(p []byte) (n int, err error) {
	if n, err = s.write(p); err != nil && s.c.ended.Load() == nil {
		s.c.end(s.c.writeEnd(err))
	}
	return n, err
}

// TryWrite writes what a socket takes at once.
func (s sink) TryWrite(p []byte) (n int, err error) {
	if s.c.socket == nil {
		return 0, nil
	}
	t := trials.Get().(*trial)
	t.p = p
	if err = s.c.socket.Control(t.run); err == nil {
		n, err = t.n, t.err
	}
	t.p = nil
	trials.Put(t)
	if err != nil && s.c.ended.Load() == nil {
		s.c.end(s.c.writeEnd(err))
	}
	return n, err
}

// A trial is what TryWrite does with a socket: a closure of its own would be an
// allocation.
type trial struct {
	p   []byte
	n   int
	err error
	run func(socket uintptr)
}

var trials = sync.Pool{New: func() any {
	t := new(trial)
	t.run = func(socket uintptr) { t.n, t.err = fd.Write(socket, t.p) }
	return t
}}

func (s sink) write(p []byte) (n int, err error) {
	defer recovered("Write", &err)
	return s.c.stream.Write(p)
}

// guard calls a callback of the user and makes an error of its panic.
func guard(name string, f func() error) (err error) {
	defer recovered(name, &err)
	return f()
}

// recovered, deferred, makes an error of the panic of a callback.
func recovered(name string, err *error) { recoverAs(recover(), name, err) }

func recoverAs(v any, name string, err *error) {
	if v != nil {
		*err = &PanicError{Callback: name, Value: v, Stack: debug.Stack()}
	}
}

// panicked ends the connection that a callback panicked for.
func (c *Conn) panicked(err error) {
	c.node.counts.panics.Add(1)
	c.node.logPanic(err)
	c.end(&EndError{Origin: Panic, Err: err})
}

// String names the connection in logs.
func (c *Conn) String() string { return fmt.Sprintf("%s with %s", c.id, c.remote) }
