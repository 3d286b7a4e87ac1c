package testnet

import (
	"strings"
	"testing"
	"time"
)

// A story has the end of the chain of causes, and the callbacks before the
// failure: without ticks that led to nothing, what happened to others and what
// came later.
func TestStory(t *testing.T) {
	var trace Trace
	id := uint64(0)
	record := func(e Event) uint64 {
		id++
		e.ID, e.At = id, time.Duration(id)*time.Second
		trace.Record(&e)
		return id
	}
	call := func(node int, name string, cause uint64) uint64 {
		return record(Event{Cause: cause, Kind: EventCall, Node: node, Peer: -1, Name: name, Service: 70})
	}
	for range 100 {
		call(1, "OnEvent", 0)
	}
	call(1, "OnTick", 0) // 101
	call(2, "OnReport", 0)
	for range 2 { // 103, 104
		trace.Record(&Event{ID: id + 1, At: 103 * time.Second, Kind: EventFault, Node: 0, Peer: 1, Name: "block"})
		id++
	}
	cause := call(1, "OnTick", 0) // 105
	for range 30 {                // to 135
		cause = record(Event{Cause: cause, Kind: EventTimer, Node: 1, Peer: -1})
	}
	call(1, "OnStop", cause) // 136
	call(1, "OnEvent", 136)

	var b strings.Builder
	trace.story(&b, &Failure{Event: 136, cause: 136})
	led, calls, ok := strings.Cut(b.String(), "\nThe last callbacks and faults of node 1, ")
	if !ok {
		t.Fatalf("no callbacks of node 1:\n%s", b.String())
	}
	for _, tt := range []struct {
		text, part string
		want       int
	}{
		{"\nWhat led to it, after 12 causes of causes:\n    117.000s  #117<-116  node1  timer\n", led, 1},
		{"    136.000s  #136<-135  node1  OnStop service 70\n", led, 1},
		{"\n", led, 22},
		{"\n", calls, 1 + reportCalls},
		{"OnEvent", calls, 57},
		{"#101", calls, 0},
		{"#137", calls, 0},
		{"OnReport", calls, 0},
		{"103.000s  #103       node0 -> node1  BLOCK, and 1 more of it\n", calls, 1},
		{"105.000s  #105       node1           OnTick service 70\n", calls, 1},
		{"136.000s  #136<-135  node1           OnStop service 70\n", calls, 1},
	} {
		if got := strings.Count(tt.part, tt.text); got != tt.want {
			t.Errorf("%q is there %d times, want %d:\n%s", tt.text, got, tt.want, tt.part)
		}
	}
}
