package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plexus-net/plexus/testnet"
)

// maxTraced bounds the events that are kept for a trace, of about 100 bytes.
const maxTraced = 5_000_000

// A tracer keeps the events that are to be written to a file, and writes them.
type tracer struct {
	testnet.Trace
	path   string
	filter testnet.Filter
	all    bool // the bytes that arrive and the timers, too
	write  func(io.Writer, testnet.Filter) error
}

// newTracer makes the tracer for a file, whose name says how to write it.
func newTracer(path string, nodes []int) (*tracer, error) {
	t := &tracer{path: path, filter: testnet.Filter{Nodes: nodes}}
	t.Last = maxTraced
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".txt":
		t.write = t.WriteText
	case ".mmd":
		t.write = t.WriteMermaid
	case ".json", ".jsonl":
		t.write, t.all = t.WriteJSON, true
	default:
		return nil, fmt.Errorf("--trace is %q; allowed are names that end in .txt, in .jsonl (an object for each event) and in .mmd (a Mermaid diagram)", path)
	}
	return t, nil
}

// event keeps an event if it is to be written.
func (t *tracer) event(e *testnet.Event) {
	if !t.all && (e.Kind == testnet.EventDeliver || e.Kind == testnet.EventTimer) {
		return
	}
	if n := t.filter.Nodes; len(n) == 0 || slices.Contains(n, e.Node) || slices.Contains(n, e.Peer) {
		t.Record(e)
	}
}

// save writes the file.
func (t *tracer) save() error {
	f, err := os.Create(t.path)
	if err != nil {
		return err
	}
	if err := t.write(f, t.filter); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
