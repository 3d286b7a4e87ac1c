package testnet_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/testnet"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// golden compares what is written with a file.
func golden(t *testing.T, name string, write func(io.Writer) error) {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s: got\n%s\nwant, unless the runtime does something else on purpose (then: go test ./testnet -update):\n%s", path, &got, want)
	}
}

// every is a trace with events of all kinds.
func every() *testnet.Trace {
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	var trace testnet.Trace
	for _, e := range []testnet.Event{
		{ID: 1, At: ms(0), Kind: testnet.EventTimer, Node: 0, Peer: -1},
		{ID: 2, Cause: 1, At: ms(0), Kind: testnet.EventDial, Node: 0, Peer: 11, Name: "node11:1"},
		{ID: 3, Cause: 1, At: ms(0.5), Kind: testnet.EventDial, Node: 0, Peer: -1, Name: "no;where#:1"},
		{ID: 4, Cause: 2, At: ms(10), Kind: testnet.EventAccept, Node: 11, Peer: 0},
		{ID: 5, Cause: 4, At: ms(20), Kind: testnet.EventDeliver, Node: 0, Peer: 11, Size: 85},
		{ID: 6, Cause: 5, At: ms(20), Kind: testnet.EventCall, Node: 0, Peer: 11, Name: "OnConnect", Service: 70, Conn: 1},
		{ID: 7, Cause: 6, At: ms(30), Kind: testnet.EventCall, Node: 11, Peer: 0, Name: "OnMessage", Service: 70, Conn: 1, Message: 2, Size: 64},
		{ID: 8, Cause: 6, At: ms(1030), Kind: testnet.EventDatagram, Node: 11, Peer: 0, Size: 12},
		{ID: 9, Cause: 8, At: ms(1030), Kind: testnet.EventLost, Node: 0, Peer: 11, Size: 13},
		{ID: 10, At: ms(12345.678), Kind: testnet.EventFault, Node: 0, Peer: 11, Name: "block"},
		{ID: 11, At: ms(12345.678), Kind: testnet.EventFault, Node: 0, Peer: 7, Name: "block"},
		{ID: 12, At: ms(12345.678), Kind: testnet.EventFault, Node: 0, Peer: 11, Name: "cut"},
		{ID: 13, Cause: 12, At: ms(12345.678), Kind: testnet.EventEnd, Node: 11, Peer: 0},
		{ID: 14, Cause: 13, At: ms(60000), Kind: testnet.EventCall, Node: 11, Peer: -1, Name: "OnTick", Service: 3},
		{ID: 15, Cause: 13, At: ms(60000), Kind: testnet.EventCall, Node: 7, Peer: 7, Name: "OnMessage", Service: 3, Message: 1, Size: 1},
		{ID: 16, At: ms(60000), Kind: testnet.EventFault, Node: 7, Peer: -1, Name: "crash"},
	} {
		trace.Record(&e)
	}
	return &trace
}

var everyKind = []testnet.EventKind{testnet.EventTimer, testnet.EventDial, testnet.EventAccept, testnet.EventDeliver, testnet.EventDatagram,
	testnet.EventLost, testnet.EventEnd, testnet.EventCall, testnet.EventFault}

func TestTraceOfEveryKind(t *testing.T) {
	trace := every()
	all := testnet.Filter{Kinds: everyKind}
	golden(t, "every.txt", func(w io.Writer) error { return trace.WriteText(w, all) })
	golden(t, "every.mmd", func(w io.Writer) error { return trace.WriteMermaid(w, all) })
	golden(t, "every.jsonl", func(w io.Writer) error { return trace.WriteJSON(w, testnet.Filter{}) })
}

// The trace of a small run is the same every time, to the letter.
func TestTraceOfARun(t *testing.T) {
	sc := greeting(3)
	sc.For = 5 * time.Second
	sc.Script = []testnet.Step{testnet.At(time.Second, testnet.Cut(0, 1)), testnet.At(3*time.Second, testnet.Crash(2))}
	var trace testnet.Trace
	if _, err := testnet.Run(1, sc, trace.Record); err != nil {
		t.Fatal(err)
	}
	golden(t, "run.txt", func(w io.Writer) error { return trace.WriteText(w, testnet.Filter{}) })
	golden(t, "run.mmd", func(w io.Writer) error { return trace.WriteMermaid(w, testnet.Filter{}) })
}

// ids returns the IDs of the events that are in a trace.
func ids(t *testing.T, trace *testnet.Trace, f testnet.Filter) []uint64 {
	t.Helper()
	var b bytes.Buffer
	if err := trace.WriteJSON(&b, f); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for lines := bufio.NewScanner(&b); lines.Scan(); {
		var e struct{ ID uint64 }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		got = append(got, e.ID)
	}
	return got
}

func TestFilter(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    testnet.Filter
		want []uint64
	}{
		{"all", testnet.Filter{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
		{"kinds", testnet.Filter{Kinds: []testnet.EventKind{testnet.EventDial, testnet.EventEnd}}, []uint64{2, 3, 13}},
		{"a node, and the other one", testnet.Filter{Nodes: []int{7}}, []uint64{11, 15, 16}},
		{"nodes", testnet.Filter{Nodes: []int{7, 11}, Kinds: []testnet.EventKind{testnet.EventCall}}, []uint64{6, 7, 14, 15}},
		{"a service", testnet.Filter{Services: []identity.ServiceID{70}}, []uint64{6, 7, 10, 11, 12, 16}},
		{"a service and kinds", testnet.Filter{Services: []identity.ServiceID{3}, Kinds: []testnet.EventKind{testnet.EventCall, testnet.EventDial}}, []uint64{2, 3, 14, 15}},
		{"from", testnet.Filter{From: 12 * time.Second}, []uint64{10, 11, 12, 13, 14, 15, 16}},
		{"to", testnet.Filter{To: 10 * time.Millisecond}, []uint64{1, 2, 3, 4}},
		{"from and to", testnet.Filter{From: 10 * time.Millisecond, To: 20 * time.Millisecond}, []uint64{4, 5, 6}},
	} {
		if got := ids(t, every(), tt.f); !slices.Equal(got, tt.want) {
			t.Errorf("%s: events %v, want %v", tt.name, got, tt.want)
		}
	}
	var text bytes.Buffer
	if err := every().WriteText(&text, testnet.Filter{}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(text.String(), "\n"); lines != 14 || strings.Contains(text.String(), "of a stream") || strings.Contains(text.String(), "timer") {
		t.Errorf("text has %d lines, want 14, without the bytes of streams and timers:\n%s", lines, &text)
	}
}

func TestCauses(t *testing.T) {
	numbers := func(chain []testnet.Event) string {
		var s []string
		for _, e := range chain {
			s = append(s, fmt.Sprint(e.ID))
		}
		return strings.Join(s, " ")
	}
	trace := every()
	short := testnet.Trace{Last: 5}
	for i := range uint64(12) {
		short.Record(&testnet.Event{ID: i + 1, Cause: i})
	}
	for _, tt := range []struct {
		trace *testnet.Trace
		id    uint64
		want  string
	}{{trace, 9, "1 2 4 5 6 8 9"}, {trace, 14, "12 13 14"}, {trace, 1, "1"}, {trace, 0, ""}, {trace, 99, ""}, {&short, 12, "8 9 10 11 12"}, {&short, 7, ""}} {
		if got := numbers(tt.trace.Causes(tt.id)); got != tt.want {
			t.Errorf("causes of %d: %q, want %q", tt.id, got, tt.want)
		}
	}
}

func TestTraceKeepsTheLast(t *testing.T) {
	trace := testnet.Trace{Last: 3}
	e := testnet.Event{Kind: testnet.EventFault}
	for i := range uint64(7) {
		e.ID = i + 1
		trace.Record(&e)
		if want := min(int(i)+1, 3); trace.Len() != want {
			t.Errorf("after %d events: %d kept, want %d", i+1, trace.Len(), want)
		}
	}
	e.ID = 99 // of the observer's own
	if got := ids(t, &trace, testnet.Filter{}); !slices.Equal(got, []uint64{5, 6, 7}) {
		t.Errorf("kept %v, want the last 3", got)
	}
}

func TestMermaidIsBounded(t *testing.T) {
	var trace testnet.Trace
	for i := range 1000 {
		trace.Record(&testnet.Event{ID: uint64(i + 1), At: time.Duration(i) * time.Second, Kind: testnet.EventDial, Node: i, Peer: 19999, Name: "node19999:1"})
	}
	var got bytes.Buffer
	if err := trace.WriteMermaid(&got, testnet.Filter{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got.String(), "->>"); n != 200 || !strings.Contains(got.String(), "    Note over node800,node19999: 800 earlier events are left out\n") {
		t.Errorf("the diagram has %d arrows, want the last 200, and a note:\n%.300s", n, &got)
	}
	if got.Len() > 50000 {
		t.Errorf("the diagram has %d characters; GitHub draws 50000", got.Len())
	}
}
