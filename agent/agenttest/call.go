package agenttest

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/identity"
)

// A Call is one thing that an agent was asked for: a message to send, or else an
// operation.
type Call struct {
	By      identity.ConnID // the connection of the handler that asked; zero: the behaviour
	Message agent.Outgoing  // where Op.Code is zero; with a copy of the payload
	Op      agent.Op        // where Op.Code is not zero
	Err     error           // what it was answered; not yet known to FailFunc
	text    string          // made at once: events may change later
}

// IsSend reports whether a message was to be sent.
func (c Call) IsSend() bool { return c.Op.Code == 0 }

// String describes the call in one line, the same in every run:
//
//	send conn:1 kind=2 "payload"
//	send node:alice222/70 kind=2 "" report=7 to-behavior unreliable
//	notify conn:1 main.pause{}
//	tell "ping"
//	post "ping"
//	do
//	after 1s main.retry{n:1}
//	cancel main.retry{n:1}
//	dial alice222@mem://alice
//	close conn:1: too slow
//	authorize conn:1
//
// What a handler asked for begins with its connection, as in "conn:1 tell 7"; what
// failed ends with the error, as in "... (agent: queue full)". Payloads of more
// than 64 bytes are cut, with their length and the start of their SHA-256 for the
// rest. Events are written as Go values, without addresses of memory.
func (c Call) String() string {
	s := c.text
	if s == "" {
		s = describeCall(c)
	}
	if c.Err != nil {
		s += " (" + c.Err.Error() + ")"
	}
	return s
}

// describeCall is String without the answer.
func describeCall(c Call) string {
	var b strings.Builder
	if c.By != 0 {
		fmt.Fprintf(&b, "conn:%s ", c.By)
	}
	if c.IsSend() {
		describeSend(&b, c.Message)
	} else {
		describeOp(&b, c.Op)
	}
	return b.String()
}

func describeSend(b *strings.Builder, o agent.Outgoing) {
	fmt.Fprintf(b, "send %s kind=%d %s", o.To, o.Kind, describePayload(o.Payload))
	if o.Report {
		fmt.Fprintf(b, " report=%d", o.ID)
	}
	if o.ToBehavior {
		b.WriteString(" to-behavior")
	}
	if o.Unreliable {
		b.WriteString(" unreliable")
	}
}

func describeOp(b *strings.Builder, op agent.Op) {
	switch op.Code {
	case agent.OpNotify:
		fmt.Fprintf(b, "notify conn:%s %s", op.Conn, describe(op.Event))
	case agent.OpTell:
		b.WriteString("tell " + describe(op.Event))
	case agent.OpPost:
		b.WriteString("post " + describe(op.Event))
	case agent.OpDo:
		b.WriteString("do")
	case agent.OpAfter:
		fmt.Fprintf(b, "after %s %s", op.Delay, describe(op.Event))
	case agent.OpCancel:
		b.WriteString("cancel " + describe(op.Event))
	case agent.OpDial:
		addrs := make([]string, len(op.Peer.Addresses))
		for i, a := range op.Peer.Addresses {
			addrs[i] = a.String()
		}
		fmt.Fprintf(b, "dial %s@%s", op.Peer.ID.Short(), strings.Join(addrs, ","))
	case agent.OpClose:
		fmt.Fprintf(b, "close conn:%s", op.Conn)
		if op.Cause != nil {
			b.WriteString(": " + op.Cause.Error())
		}
	case agent.OpAuthorize:
		fmt.Fprintf(b, "authorize conn:%s", op.Conn)
	default:
		fmt.Fprintf(b, "operation %d", op.Code)
	}
}

// maxPayload and maxEvent are the lengths from which texts are cut.
const (
	maxPayload = 64
	maxEvent   = 400
)

func describePayload(p []byte) string {
	if len(p) <= maxPayload {
		return strconv.Quote(string(p))
	}
	sum := sha256.Sum256(p)
	return fmt.Sprintf("%q... %d bytes %x", p[:maxPayload], len(p), sum[:4])
}

// pointers finds addresses in the Go syntax of values: (*T)(0xc000012345).
var pointers = regexp.MustCompile(`\(0x[0-9a-f]+\)`)

// describe writes an event as a Go value, the same in every run.
func describe(ev any) string {
	s := pointers.ReplaceAllString(fmt.Sprintf("%#v", ev), "(...)")
	if len(s) > maxEvent {
		sum := sha256.Sum256([]byte(s))
		s = fmt.Sprintf("%s... %d bytes %x", s[:maxEvent], len(s), sum[:4])
	}
	return s
}

// Take returns what was asked for since the last Take or TakeCalls, one line for
// each call as [Call.String] writes it, in order, and forgets it.
func (r *Recorder) Take() []string {
	calls := r.TakeCalls()
	lines := make([]string, len(calls))
	for i, c := range calls {
		lines[i] = c.String()
	}
	return lines
}

// TakeCalls is Take as data.
func (r *Recorder) TakeCalls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}
