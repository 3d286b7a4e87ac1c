package raw

import (
	"errors"
	"fmt"
)

// An Origin is what a connection ended of. It is an error, so that it can be the
// target of errors.Is, and the cause that Disconnect is given.
//
// A node bounds connections before they are there, and knows peers by nothing but
// addresses. So it never ends one with Limit, and with Replaced only for
// Config.ReplaceOlder: both are for code that knows more, such as an OnConnect
// that finds a second connection of one user, or one too many.
type Origin uint8

// The origins.
const (
	User         Origin = iota + 1 // Disconnect was called
	Peer                           // the other side closed it, or the stream broke
	Idle                           // nothing was received for Config.IdleTimeout
	WriteTimeout                   // the stream took longer than Config.WriteTimeout
	Decode                         // what was received is not the protocol
	Panic                          // a callback of the connection panicked
	ConnectHook                    // OnConnect failed, or did not return in time
	Replaced                       // another connection took its place: Config.ReplaceOlder, or Disconnect said so
	Limit                          // a limit is reached: Disconnect said so
	Shutdown                       // the node shut down
	origins
)

var originText = [origins]string{"unknown", "closed by this side", "closed by the peer", "idle", "write timed out", "what was received is not the protocol",
	"callback panicked", "OnConnect failed", "replaced", "limit reached", "shutdown"}

// String says what the origin means.
func (o Origin) String() string {
	if o < origins {
		return originText[o]
	}
	return fmt.Sprintf("origin %d", uint8(o))
}

// Error makes an origin a cause.
func (o Origin) Error() string { return "raw: " + o.String() }

// An EndError is why a connection ended, and the error of all that is tried with
// it from then on. errors.Is(err, origin) tells the origin.
type EndError struct {
	Origin Origin
	Err    error // beneath, may be nil: io.EOF of a peer that closed in order, the cause given to Disconnect, a *PanicError...
}

func (e *EndError) Error() string {
	if e.Err == nil || e.Err == error(e.Origin) {
		return "raw: connection ended: " + e.Origin.String()
	}
	return "raw: connection ended: " + e.Origin.String() + ": " + e.Err.Error()
}

// Unwrap returns the error beneath.
func (e *EndError) Unwrap() error { return e.Err }

// Is reports whether target is the origin.
func (e *EndError) Is(target error) bool {
	o, ok := target.(Origin)
	return ok && o == e.Origin
}

// A PanicError is a panic of a callback. It costs the connection that the
// callback was for.
type PanicError struct {
	Callback string // the method that panicked
	Value    any
	Stack    []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("raw: %s panicked: %v", e.Callback, e.Value) }

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Errors that callers branch on.
var (
	// ErrQueueFull is the error of a Send for which there is no room: a
	// connection that takes less than it is sent.
	ErrQueueFull = errors.New("raw: queue to the connection is full; wait with SendWait, or drop the message")
	// ErrShutdown is the error of what is asked of a node after Shutdown.
	ErrShutdown = errors.New("raw: node is shut down")
	// ErrSelf is the error of a node that connects to itself, as far as it can
	// tell by the address.
	ErrSelf = errors.New("raw: that is the address of this node")
	// ErrDuplicate is the error of a second Connect to an address, with
	// Config.OnePerAddress. See also Config.ReplaceOlder.
	ErrDuplicate = errors.New("raw: a connection to the address is there or being made")
	// ErrFrameTooLarge is beneath the end of a connection whose peer sent more
	// than Config.MaxFrame bytes for one message.
	ErrFrameTooLarge = errors.New("raw: message is larger than Config.MaxFrame")
	// ErrTimeout is beneath errors about time-outs of [Config]; the error tells
	// which.
	ErrTimeout = errors.New("raw: timed out")
)

// A timeoutError says which time-out it was.
type timeoutError string

func (e timeoutError) Error() string        { return "raw: " + string(e) }
func (e timeoutError) Is(target error) bool { return target == ErrTimeout }

const (
	errConnectTimeout   = timeoutError("dialling took longer than Config.ConnectTimeout")
	errHandshakeTimeout = timeoutError("handshake took longer than Config.HandshakeTimeout")
	errIdleTimeout      = timeoutError("nothing was received for Config.IdleTimeout")
	errWriteTimeout     = timeoutError("the stream took longer than Config.WriteTimeout")
	errHookTimeout      = timeoutError("callback took longer than Config.HookTimeout")
)

// endError returns the end that a cause given by a user means: whatever that is,
// one whose origin there is.
func endError(cause error) *EndError {
	var e *EndError
	if errors.As(cause, &e) {
		switch {
		case e == nil:
			return &EndError{Origin: User}
		case e.Origin.valid():
			return e
		}
	}
	var o Origin
	if errors.As(cause, &o) && o.valid() {
		return &EndError{Origin: o, Err: cause}
	}
	return &EndError{Origin: User, Err: cause}
}

func (o Origin) valid() bool { return o > 0 && o < origins }
