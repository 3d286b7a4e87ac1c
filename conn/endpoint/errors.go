package endpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/internal/durable"
)

// Errors that callers tell apart.
var (
	// ErrFull is the error of TrySend where Config.Buffer bytes wait already.
	ErrFull = durable.ErrFull
	// ErrTooLarge is beneath the error of sending more than Config.MaxMessage.
	ErrTooLarge = durable.ErrTooLarge
	// ErrEmpty is the error of TryRecv where no message waits.
	ErrEmpty = errors.New("endpoint: no message waits")
	// ErrReplaced is beneath the errors of a connection that was closed, or
	// refused by Carry, because the endpoint is on a newer one.
	ErrReplaced = durable.ErrReplaced
	// ErrUnknownFate is the error of Deliver when the peer has started anew: it
	// may or may not have taken the message.
	ErrUnknownFate = errors.New("endpoint: the peer has started anew; whether it has taken the message is not known")
)

// A RestartError says that the peer has started anew. Recv returns it once, in
// its place between the messages of the peer's former and its new life; it can
// be called again.
type RestartError struct {
	// Unknown are the messages whose fate is not known, in the order sent.
	// They are the caller's.
	Unknown [][]byte
}

func (e *RestartError) Error() string {
	return fmt.Sprintf("endpoint: the peer has started anew; the fate of %d messages is not known", len(e.Unknown))
}

// A PanicError is beneath the cause of an endpoint whose callback has panicked:
// that ends the endpoint, and nothing else. The peer is told the code
// conn.CodePanic, where the connection carries reasons.
type PanicError struct {
	Callback string // the field of Config
	Value    any
	Stack    []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("endpoint: Config.%s panicked: %v", e.Callback, e.Value)
}

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught is deferred around callbacks.
func (e *Endpoint) caught(callback string) {
	v := recover()
	if v == nil || e.panicked.Swap(true) {
		return
	}
	e.end(&conn.CloseError{Code: conn.CodePanic, Err: &PanicError{callback, v, debug.Stack()}})
}

// reasonOf returns the wire form of a cause: two bytes of code, then text.
func reasonOf(cause error) []byte {
	ce := conn.AsCloseError(cause)
	text := ce.Reason
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(ce.Code)), text...)
}

const maxReason = 256

// parseReason reads what reasonOf has made; bytes other than printable ASCII are
// read as '?'.
func parseReason(b []byte) *conn.CloseError {
	ce := &conn.CloseError{Code: conn.CodeClosed, Remote: true}
	if len(b) < 2 {
		return ce
	}
	ce.Code = conn.Code(binary.BigEndian.Uint16(b))
	text := append([]byte(nil), b[2:min(len(b), 2+maxReason)]...)
	for i, c := range text {
		if c < ' ' || c > '~' {
			text[i] = '?'
		}
	}
	ce.Reason = string(text)
	return ce
}
