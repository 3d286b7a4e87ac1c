package conn

import (
	"errors"
	"fmt"

	"github.com/plexus-net/plexus/identity"
)

// ErrClosed is the error of a connection, listener or transport that this side
// has closed without another cause.
var ErrClosed = errors.New("conn: closed")

// ErrReadOnly, returned by a behaviour's Admit, admits a connection that may be
// read but not written to until a behaviour authorises it: broadcasts skip it
// and sending to it fails with this error.
var ErrReadOnly = errors.New("conn: connection may not be written to until a behaviour authorises it")

// A WrongNodeError says that another node answered than the one expected.
type WrongNodeError struct{ Want, Got identity.NodeID }

func (e *WrongNodeError) Error() string {
	return fmt.Sprintf("conn: another node answered: want %s, got %s; check the peer address", e.Want, e.Got)
}

// A Code is the reason for closing or refusing a connection, as nodes tell it
// each other. Values are part of the wire format.
type Code uint16

// The codes.
const (
	_               Code = iota // no reason given
	CodeShutdown                // the node is going down
	CodeClosed                  // a behaviour or user closed it
	CodeReplaced                // another connection between the two nodes took its place
	CodeRejected                // a behaviour refused it (Admit)
	CodeLimit                   // a limit of the node is reached
	CodeProtocol                // what was received is not the protocol
	CodeVersion                 // no protocol version in common
	CodeNetwork                 // the nodes belong to different networks
	CodeSelf                    // a node dialled itself
	CodeTimeout                 // nothing came for too long, or nothing could be written
	CodePanic                   // a handler panicked
	CodeUnreachable             // the transport failed
)

var codeText = [...]string{"no reason given", "shutting down", "closed", "replaced by another connection", "rejected", "limit reached",
	"protocol violated", "no protocol version in common", "different network", "dialled itself", "timed out", "handler panicked", "unreachable"}

// String says what the code means.
func (c Code) String() string {
	if int(c) < len(codeText) {
		return codeText[c]
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// Error makes a code usable as a target of errors.Is.
func (c Code) Error() string { return "conn: " + c.String() }

// A CloseError is why a connection ended or was refused. errors.Is(err, code)
// tells the reason.
type CloseError struct {
	Code   Code
	Reason string // for people; at most 256 bytes cross the wire
	Remote bool   // the other side gave this reason
	Err    error  // the error beneath, if any; it does not cross the wire
	// Unacknowledged are, for the service that is told of the end of a durable
	// connection, the messages that it has sent and that are not known to have
	// arrived, in the order sent. All others have.
	Unacknowledged []Message
}

func (e *CloseError) Error() string {
	side := "closed here"
	if e.Remote {
		side = "closed by peer"
	}
	s := "conn: " + side + ": " + e.Code.String()
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the error beneath.
func (e *CloseError) Unwrap() error { return e.Err }

// Is reports whether target is the error's code, or [ErrClosed] for an end
// that this side asked for.
func (e *CloseError) Is(target error) bool {
	if code, ok := target.(Code); ok {
		return code == e.Code
	}
	return target == ErrClosed && !e.Remote && e.Code == CodeClosed
}

// AsCloseError returns the reason to give to the other side for cause: cause
// itself if it is or wraps a [*CloseError], else one with [CodeClosed].
func AsCloseError(cause error) *CloseError {
	var ce *CloseError
	if errors.As(cause, &ce) {
		return ce
	}
	if cause == nil || cause == ErrClosed {
		return &CloseError{Code: CodeClosed}
	}
	return &CloseError{Code: CodeClosed, Reason: cause.Error(), Err: cause}
}
