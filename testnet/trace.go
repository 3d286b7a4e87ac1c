package testnet

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/plexus-net/plexus/identity"
)

// A Trace records the events of a run and writes them down: as text, as a
// diagram, as JSON.
//
//	var trace testnet.Trace
//	_, err := testnet.Run(17, scenario, trace.Record)
//	trace.WriteText(os.Stdout, testnet.Filter{Nodes: []int{3}})
//
// It is for one run, and not for several goroutines at a time.
type Trace struct {
	// Last is how many events it keeps: the last ones. Default: all of them, at
	// about 100 bytes each.
	Last int

	events []Event // by ID; a ring once there are Last of them
	oldest int     // where the ring begins
}

// Record keeps a copy of an event. It is what Run takes to observe a run; an
// invariant may call it from its Watch.
func (t *Trace) Record(e *Event) {
	if t.Last > 0 && len(t.events) >= t.Last {
		t.events[t.oldest] = *e
		t.oldest = (t.oldest + 1) % len(t.events)
		return
	}
	t.events = append(t.events, *e)
}

// Len returns how many events are kept.
func (t *Trace) Len() int { return len(t.events) }

// at returns the i-th of the events that are kept.
func (t *Trace) at(i int) *Event { return &t.events[(t.oldest+i)%len(t.events)] }

// find returns the event with an ID, nil if it is not kept.
func (t *Trace) find(id uint64) *Event {
	i := sort.Search(len(t.events), func(i int) bool { return t.at(i).ID >= id })
	if i == len(t.events) || t.at(i).ID != id {
		return nil
	}
	return t.at(i)
}

// Causes returns the chain of events that led to one, which is the last of
// them. It begins with what the scenario did, or after what is not kept.
func (t *Trace) Causes(id uint64) []Event {
	var chain []Event
	for e := t.find(id); e != nil; e = t.find(e.Cause) {
		chain = append(chain, *e)
		if e.Cause >= e.ID {
			break
		}
	}
	slices.Reverse(chain)
	return chain
}

// A Filter chooses events. Zero means all that tells a story: not the bytes
// that arrive on streams, nor the timers, whose callbacks are there.
type Filter struct {
	// Nodes are those to which events happened, or which were the other node.
	// Default: all.
	Nodes []int
	// Services are those whose callbacks count. Default: all. Where it is set
	// and Kinds is not, nothing but their callbacks and faults is chosen.
	Services []identity.ServiceID
	// Kinds of events. Default: all but EventDeliver and EventTimer; for JSON
	// all.
	Kinds []EventKind
	// From and To are virtual times, both included. Default: all of the run.
	From, To time.Duration
}

// The kinds of events that a filter chooses if it does not say.
var (
	storyKinds = []EventKind{EventDial, EventAccept, EventDatagram, EventLost, EventEnd, EventCall, EventFault}
	allKinds   = append([]EventKind{EventTimer, EventDeliver}, storyKinds...)
	callKinds  = []EventKind{EventCall, EventFault}
)

// withDefaults says which kinds are chosen.
func (f Filter) withDefaults(kinds []EventKind) Filter {
	switch {
	case len(f.Kinds) > 0:
	case len(f.Services) > 0:
		f.Kinds = callKinds
	default:
		f.Kinds = kinds
	}
	return f
}

func (f *Filter) wants(e *Event) bool {
	switch {
	case !slices.Contains(f.Kinds, e.Kind), e.At < f.From, f.To > 0 && e.At > f.To:
		return false
	case len(f.Services) > 0 && e.Kind == EventCall && !slices.Contains(f.Services, e.Service):
		return false
	}
	return len(f.Nodes) == 0 || slices.Contains(f.Nodes, e.Node) || e.Peer >= 0 && slices.Contains(f.Nodes, e.Peer)
}

// A row is an event that is shown, with how many more of its sort follow that
// are not.
type row struct {
	*Event
	more int
}

// rows returns the events that want chooses.
func (t *Trace) rows(want func(*Event) bool) []row {
	var rows []row
	for i := range t.events {
		if e := t.at(i); want(e) {
			rows = append(rows, row{e, 0})
		}
	}
	return rows
}

// foldFaults makes one row of the many that a fault of many nodes brings, such
// as a split.
func foldFaults(rows []row) []row {
	kept := rows[:0]
	for _, r := range rows {
		if n := len(kept) - 1; n >= 0 && kept[n].sameFault(r.Event) {
			kept[n].more++
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// sameFault reports whether an event belongs to the fault that a row shows.
func (r row) sameFault(e *Event) bool {
	return r.Kind == EventFault && e.Kind == EventFault && r.Name == e.Name && r.At == e.At
}

// WriteText writes a line for each event: when, its ID and after <- that of its
// cause, who, what.
//
//	12.345s  #4711<-4702  node3 <- node7  OnMessage service 70 kind 1, 64 B
func (t *Trace) WriteText(w io.Writer, f Filter) error {
	f = f.withDefaults(storyKinds)
	b := bufio.NewWriter(w)
	writeRows(b, "", t.rows(f.wants))
	return b.Flush()
}

// writeRows writes rows in columns. Errors are for the flush.
func writeRows(b *bufio.Writer, indent string, rows []row) {
	var when, id, who int
	for _, r := range rows {
		when, id, who = max(when, len(r.when())), max(id, len(r.number())), max(who, len(r.who()))
	}
	for _, r := range rows {
		fmt.Fprintf(b, "%s%*s  %-*s  %-*s  %s\n", indent, when, r.when(), id, r.number(), who, r.who(), r.what())
	}
}

func (r row) when() string {
	return fmt.Sprintf("%d.%03ds", r.At/time.Second, r.At%time.Second/time.Millisecond)
}

func (r row) number() string {
	if r.Cause == 0 {
		return fmt.Sprintf("#%d", r.ID)
	}
	return fmt.Sprintf("#%d<-%d", r.ID, r.Cause)
}

func (r row) who() string {
	if r.Peer < 0 {
		return fmt.Sprintf("node%d", r.Node)
	}
	way := "<-"
	switch {
	case r.Kind == EventLost:
		return fmt.Sprintf("node%d -x node%d", r.Peer, r.Node)
	case r.Kind == EventDial, r.Kind == EventFault && strings.HasSuffix(r.Name, "block"):
		way = "->"
	case r.Kind == EventFault, r.Kind == EventCall && r.Name != onMessage:
		way = "--"
	}
	return fmt.Sprintf("node%d %s node%d", r.Node, way, r.Peer)
}

// onMessage is the callback that brings something from another node.
const onMessage = "OnMessage"

func (r row) what() string {
	switch r.Kind {
	case EventDial:
		return "dials " + r.Name
	case EventAccept:
		return "connection arrives"
	case EventDeliver:
		return fmt.Sprintf("%d B of a stream", r.Size)
	case EventDatagram:
		return fmt.Sprintf("datagram, %d B", r.Size)
	case EventLost:
		return fmt.Sprintf("datagram lost, %d B", r.Size)
	case EventEnd:
		return "connection is closed"
	case EventCall:
		return r.call()
	case EventFault:
		if r.more > 0 {
			return fmt.Sprintf("%s, and %d more of it", strings.ToUpper(r.Name), r.more)
		}
		return strings.ToUpper(r.Name)
	}
	return r.Kind.String()
}

func (r row) call() string {
	s := fmt.Sprintf("%s service %d", r.Name, r.Service)
	if r.Name == onMessage {
		return fmt.Sprintf("%s kind %d, %d B", s, r.Message, r.Size)
	}
	if r.Conn != 0 {
		s += fmt.Sprintf(" connection %d", r.Conn)
	}
	return s
}

// kindNames are what kinds are called, in JSON too.
var kindNames = [...]string{EventTimer: "timer", EventDial: "dial", EventAccept: "accept", EventDeliver: "deliver", EventDatagram: "datagram",
	EventLost: "lost", EventEnd: "end", EventCall: "call", EventFault: "fault"}

// String returns the name of the kind, such as "deliver".
func (k EventKind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// A jsonEvent is an Event in JSON. Its names are stable: see WriteJSON.
type jsonEvent struct {
	ID      uint64 `json:"id"`
	Cause   uint64 `json:"cause"`
	At      int64  `json:"at"`
	Kind    string `json:"kind"`
	Node    int    `json:"node"`
	Peer    *int   `json:"peer,omitempty"`
	Name    string `json:"name,omitempty"`
	Service uint16 `json:"service,omitempty"`
	Conn    uint64 `json:"conn,omitempty"`
	Message uint64 `json:"message,omitempty"`
	Size    int    `json:"size,omitempty"`
}

// WriteJSON writes an object for each event, one a line. The fields are those
// of Event in lower case: id, cause, at in nanoseconds, kind by its name, such
// as "deliver", node, peer, name, service, conn, message and size. The first
// five are always there, the others where they are not zero, and peer where
// there is one.
func (t *Trace) WriteJSON(w io.Writer, f Filter) error {
	f = f.withDefaults(allKinds)
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for i := range t.events {
		e := t.at(i)
		if !f.wants(e) {
			continue
		}
		o := jsonEvent{ID: e.ID, Cause: e.Cause, At: int64(e.At), Kind: e.Kind.String(), Node: e.Node, Name: e.Name,
			Service: uint16(e.Service), Conn: uint64(e.Conn), Message: uint64(e.Message), Size: e.Size}
		if e.Peer >= 0 {
			o.Peer = &e.Peer
		}
		if err := enc.Encode(&o); err != nil {
			return err
		}
	}
	return b.Flush()
}

// maxDrawn is how many events a diagram has: those who draw it, GitHub among
// them, refuse more than 50,000 characters.
const maxDrawn = 200

// WriteMermaid writes a sequence diagram for Mermaid, which GitHub draws where
// it stands between ```mermaid and ```. It has at most 200 events, the last
// ones, and says how many it leaves out. Arrows are what gets from one node to
// another; a dashed one is a connection, one that ends in a cross is lost.
// Notes are the rest.
func (t *Trace) WriteMermaid(w io.Writer, f Filter) error {
	f = f.withDefaults(storyKinds)
	rows := foldFaults(t.rows(f.wants))
	left := max(0, len(rows)-maxDrawn)
	rows = rows[left:]
	var nodes []int
	for _, r := range rows {
		nodes = append(nodes, r.Node)
		if r.Peer >= 0 {
			nodes = append(nodes, r.Peer)
		}
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "sequenceDiagram")
	for _, n := range nodes {
		fmt.Fprintf(b, "    participant node%d\n", n)
	}
	if left > 0 {
		fmt.Fprintf(b, "    Note over %s: %d earlier events are left out\n", over(nodes[0], nodes[len(nodes)-1]), left)
	}
	for _, r := range rows {
		where, note := r.drawn()
		fmt.Fprintf(b, "    %s: %s %s%s\n", where, r.when(), mermaidText.Replace(r.what()), note)
	}
	return b.Flush()
}

// mermaidText hides what means something to Mermaid.
var mermaidText = strings.NewReplacer("#", "#35;", ";", "#59;", "\n", " ")

// over names whom a note stands over; -1: nobody.
func over(a, b int) string {
	if b < 0 || a == b {
		return fmt.Sprintf("node%d", a)
	}
	return fmt.Sprintf("node%d,node%d", a, b)
}

// drawn returns the arrow of an event, or where its note stands and what it
// says of the other node.
func (r row) drawn() (where, note string) {
	from, to, arrow := r.Peer, r.Node, ""
	switch {
	case r.Peer < 0 || r.Peer == r.Node:
	case r.Kind == EventDial:
		from, to, arrow = r.Node, r.Peer, "->>"
	case r.Kind == EventAccept, r.Kind == EventEnd:
		arrow = "-->>"
	case r.Kind == EventDeliver, r.Kind == EventCall && r.Name == onMessage:
		arrow = "->>"
	case r.Kind == EventDatagram:
		arrow = "-)"
	case r.Kind == EventLost:
		arrow = "-x"
	case r.Kind == EventFault:
		return "Note over " + over(r.Node, r.Peer), ""
	default:
		note = fmt.Sprintf(" (node%d)", r.Peer)
	}
	if arrow == "" {
		return "Note over " + over(r.Node, -1), note
	}
	return fmt.Sprintf("node%d%snode%d", from, arrow, to), ""
}
