package conn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

// The codes are part of the wire format: their numbers stay, and each says
// something of its own.
func TestCodesKeepTheirNumbers(t *testing.T) {
	codes := []conn.Code{0, conn.CodeShutdown, conn.CodeClosed, conn.CodeReplaced, conn.CodeRejected, conn.CodeLimit, conn.CodeProtocol,
		conn.CodeVersion, conn.CodeNetwork, conn.CodeSelf, conn.CodeTimeout, conn.CodePanic, conn.CodeUnreachable}
	seen := map[string]bool{}
	for i, c := range codes {
		if int(c) != i {
			t.Errorf("%v is %d, want %d", c, c, i)
		}
		if text := c.String(); text == "" || strings.HasPrefix(text, "code ") || seen[text] {
			t.Errorf("code %d says %q", c, text)
		}
		seen[c.String()] = true
	}
	if text := conn.Code(len(codes)).String(); text != "code 13" {
		t.Errorf("a code that is not known says %q", text)
	}
}

func TestCloseError(t *testing.T) {
	for _, c := range []struct {
		err    *conn.CloseError
		text   string
		closed bool // errors.Is(err, ErrClosed)
	}{
		{&conn.CloseError{Code: conn.CodeClosed}, "conn: closed here: closed", true},
		{&conn.CloseError{Code: conn.CodeClosed, Remote: true}, "conn: closed by peer: closed", false},
		{&conn.CloseError{Code: conn.CodeLimit, Reason: "Limits.Conns", Remote: true}, "conn: closed by peer: limit reached: Limits.Conns", false},
		{&conn.CloseError{Code: conn.CodeUnreachable, Err: io.ErrUnexpectedEOF}, "conn: closed here: unreachable: unexpected EOF", false},
	} {
		wrapped := fmt.Errorf("network: %w", c.err)
		if got := c.err.Error(); got != c.text {
			t.Errorf("%q, want %q", got, c.text)
		}
		if !errors.Is(wrapped, c.err.Code) || errors.Is(wrapped, conn.CodePanic) {
			t.Errorf("%v: errors.Is does not find its code, or finds another", wrapped)
		}
		if got := errors.Is(wrapped, conn.ErrClosed); got != c.closed {
			t.Errorf("%v: errors.Is(ErrClosed) is %t", wrapped, got)
		}
		if c.err.Err != nil && !errors.Is(wrapped, c.err.Err) {
			t.Errorf("%v: the error beneath is not found", wrapped)
		}
	}
}

// Every cause becomes a reason that the other side can be given.
func TestAsCloseError(t *testing.T) {
	own := &conn.CloseError{Code: conn.CodeRejected, Reason: "no"}
	for _, c := range []struct {
		cause  error
		code   conn.Code
		reason string
	}{
		{nil, conn.CodeClosed, ""},
		{conn.ErrClosed, conn.CodeClosed, ""},
		{own, conn.CodeRejected, "no"},
		{fmt.Errorf("wrapped: %w", own), conn.CodeRejected, "no"},
		{context.Canceled, conn.CodeClosed, "context canceled"},
	} {
		if got := conn.AsCloseError(c.cause); got.Code != c.code || got.Reason != c.reason || got.Remote {
			t.Errorf("AsCloseError(%v) = %+v, want %v with the reason %q", c.cause, got, c.code, c.reason)
		}
	}
	if got := conn.AsCloseError(context.Canceled); !errors.Is(got, context.Canceled) {
		t.Errorf("%v has lost its cause", got)
	}
}

func TestWrongNodeError(t *testing.T) {
	want, got := identity.NodeID{1}, identity.NodeID{2}
	var err error = &conn.WrongNodeError{Want: want, Got: got}
	var wrong *conn.WrongNodeError
	if !errors.As(fmt.Errorf("dial: %w", err), &wrong) || wrong.Want != want || wrong.Got != got {
		t.Errorf("errors.As finds %+v", wrong)
	}
	if text := err.Error(); !strings.Contains(text, want.String()) || !strings.Contains(text, got.String()) {
		t.Errorf("%q does not name both nodes", text)
	}
}
