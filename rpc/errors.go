package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// A Code is the reason why a call failed, and a target of errors.Is:
//
//	if errors.Is(err, rpc.NoService) { ... }
//
// Values are part of the wire format.
type Code uint8

// The codes. After NoRoute, NoService, NoMethod, Overloaded and
// Unauthenticated no function was called, unless it gave the code itself; after
// Timeout, ConnClosed, Canceled and Stopped that is unknown.
const (
	Timeout         Code = iota + 1 // no answer in time
	NoRoute                         // nobody knows the way
	NoService                       // no node serves it, or not the node asked
	NoMethod                        // the service has no such method
	Overloaded                      // a queue or a limit of either side is full
	TooLarge                        // the request or the answer is larger than a node on the way takes
	Decode                          // a payload could not be encoded or decoded
	Remote                          // the served function returned an error, or panicked
	Canceled                        // the context of the call was cancelled
	Stopped                         // a behaviour or node of either side stops, or has not started
	Unauthenticated                 // the caller may not do this
	ConnClosed                      // the connection ended while the call was in flight
)

var codeText = [...]string{"unknown error", "no answer in time", "no route", "no such service", "no such method", "overloaded",
	"too large", "payload cannot be coded", "remote error", "canceled", "stopped", "not allowed", "connection closed"}

// String says what the code means.
func (c Code) String() string {
	if int(c) < len(codeText) {
		return codeText[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Error makes a code usable as a target of errors.Is.
func (c Code) Error() string { return "rpc: " + c.String() }

// An Error is why a call failed. Every error of a call is one.
type Error struct {
	Code   Code
	Method string
	Node   identity.NodeID // the node that said so; zero: this node
	Text   string          // for people; at most 1024 bytes cross the wire
	Err    error           // the error beneath, if any; it does not cross the wire

	crosses bool // the code is the served function's own, and crosses the wire
}

// Errorf makes an error for a served function to return, formatted as
// fmt.Errorf does it. The codes NoMethod, Overloaded, TooLarge, Decode and
// Unauthenticated reach the caller; others, such as those of a call that failed
// further on, would mislead it and reach it as Remote.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Text: err.Error(), Err: errors.Unwrap(err)}
	switch code {
	case NoMethod, Overloaded, TooLarge, Decode, Unauthenticated:
		e.crosses = true
	}
	return e
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("rpc: ")
	if e.Method != "" {
		b.WriteString("call of " + e.Method + ": ")
	}
	b.WriteString(e.Code.String())
	if !e.Node.IsZero() {
		b.WriteString(" at node " + e.Node.Short())
	}
	switch {
	case e.Text != "":
		b.WriteString(": " + e.Text)
	case e.Err != nil:
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the error beneath.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error's code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// errExited is the answer for a served function that never returned: it
// panicked, or ended its goroutine.
var errExited = errors.New("the served function panicked; its node has logged where")

// failure returns what an error of a served function becomes on the wire.
func failure(err error) (Code, string) {
	code, text := Remote, ""
	if e := (*Error)(nil); errors.As(err, &e) && e.crosses {
		code = e.Code
		if err == error(e) {
			return code, capText(e.Text)
		}
	}
	text = err.Error()
	return code, capText(text)
}

// capText makes text fit for the wire, and what came from there fit to keep.
func capText(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

// answered returns the code that a node gave with an answer, or Remote where it
// is none that an answer may give.
func (c Code) answered() Code {
	switch c {
	case Timeout, NoMethod, Overloaded, TooLarge, Decode, Canceled, Stopped, Unauthenticated:
		return c
	}
	return Remote
}

// codeOf returns the code for an error of an agent.
func codeOf(err error) Code {
	switch {
	case errors.Is(err, agent.ErrNoService):
		return NoService
	case errors.Is(err, agent.ErrQueueFull):
		return Overloaded
	case errors.Is(err, agent.ErrTooLarge):
		return TooLarge
	case errors.Is(err, agent.ErrStopped):
		return Stopped
	case errors.Is(err, agent.ErrNoConn):
		return ConnClosed
	case errors.Is(err, conn.ErrReadOnly):
		return Unauthenticated
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return NoRoute
}
