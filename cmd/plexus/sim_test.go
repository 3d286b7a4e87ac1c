package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/identity"
)

// sim runs the command as it is used.
func sim(t *testing.T, ctx context.Context, args string) (stdout, stderr string, err error) {
	t.Helper()
	c := root()
	var out, log bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&log)
	c.SetArgs(append([]string{"sim"}, strings.Fields(args)...))
	err = c.ExecuteContext(ctx)
	return out.String(), log.String(), err
}

// TestSimWrongUse checks that mistakes get one line that says what is allowed.
func TestSimWrongUse(t *testing.T) {
	for args, want := range map[string]string{
		"--nodes 1":                         "2 to 4096, with scenario lookup to 20000",
		"--nodes 20001":                     "2 to 4096, with scenario lookup to 20000",
		"--nodes 5000":                      "lookup takes up to 20000",
		"--nodes many":                      "plexus sim --help",
		"--for 0":                           "from 1s to 1000h",
		"--for -1s":                         "from 1s to 1000h",
		"--for 1001h":                       "from 1s to 1000h",
		"--seed -1":                         "plexus sim --help",
		"--scenario storm":                  "calm, churn, partition, lossy, regions, lookup, chaos",
		"--target 0":                        "1 to 64",
		"--target 4 --scenario lookup":      "a connection for each bucket",
		"--latency 0s":                      "1µs to 10s",
		"--latency 11s":                     "1µs to 10s",
		"--latency 1s --scenario regions":   "latencies of its own",
		"--loss 0.6":                        "from 0 to 0.5",
		"--loss NaN":                        "from 0 to 0.5",
		"--trace x.doc":                     ".jsonl",
		"--trace /no/such/place/x.txt":      "no such file",
		"--trace-node 1":                    "--trace",
		"--trace x.txt --trace-node 100":    "0 to 99",
		"--out /dev/null/x":                 "not a directory",
		"more":                              "unknown command",
		"--nodes 10 --for 1s --trace a.bmp": ".mmd",
	} {
		out, _, err := sim(t, t.Context(), args)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || out != "" {
			t.Errorf("plexus sim %s: %q, error %q; want no output, and one line with %q", args, out, err, want)
		}
	}
}

// TestSimSameSeed runs each scenario twice: but for what is measured in real
// time, all is the same.
func TestSimSameSeed(t *testing.T) {
	for _, s := range simScenarios() {
		t.Run(s.name, func(t *testing.T) {
			args := "--json --quiet --nodes 8 --for 20s --seed 3 --scenario " + s.name
			var first map[string]any
			for range 2 {
				out, log, err := sim(t, t.Context(), args)
				if err != nil || log != "" {
					t.Fatalf("%v, with %q on standard error", err, log)
				}
				var r map[string]any
				d := json.NewDecoder(strings.NewReader(out))
				if err := d.Decode(&r); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if _, err := d.Token(); !errors.Is(err, io.EOF) {
					t.Fatalf("more than one object: %s", out)
				}
				delete(r, "real")
				if len(r["trace"].(string)) != 16 || r["calls"].(map[string]any)["answered"].(float64) == 0 {
					t.Errorf("no trace or no calls: %s", out)
				}
				if first == nil {
					first = r
				} else if a, b := asJSON(t, first), asJSON(t, r); a != b {
					t.Errorf("two runs differ:\n%s\n%s", a, b)
				}
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSimOtherSeed checks that the seed matters.
func TestSimOtherSeed(t *testing.T) {
	one, _, err := sim(t, t.Context(), "--json --nodes 4 --for 3s --seed 1")
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := sim(t, t.Context(), "--json --nodes 4 --for 3s --seed 2")
	if err != nil {
		t.Fatal(err)
	}
	var a, b simReport
	if err := errors.Join(json.Unmarshal([]byte(one), &a), json.Unmarshal([]byte(two), &b)); err != nil || a.Trace == b.Trace {
		t.Errorf("traces %q and %q of two seeds, %v", a.Trace, b.Trace, err)
	}
}

// TestSimSummary reads what people read, and the files.
func TestSimSummary(t *testing.T) {
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace.txt")
	out, _, err := sim(t, t.Context(), "--nodes 12 --for 30s --scenario churn --out "+dir+" --trace-node 1,2 --trace "+trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"churn, seed 1: 12 nodes for 30s", "all nodes knew all others after", "12 of 12 nodes up had the same map", "answered", "round trip p50", "crash", "B/s", "trace  ", "convergence.svg"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the summary:\n%s", want, out)
		}
	}
	for _, l := range strings.Split(out, "\n") {
		if len(l) > 160 || strings.Contains(l, "NaN") {
			t.Errorf("an ugly line: %q", l)
		}
	}
	for _, name := range []string{"connections", "convergence", "messages", "hops", "latency", "events"} {
		wellFormed(t, filepath.Join(dir, name+".svg"))
	}
	lines, err := os.ReadFile(trace)
	if err != nil || !bytes.Contains(lines, []byte("node1 -> node0")) || bytes.Contains(lines, []byte("node3 -> node0")) {
		t.Errorf("the trace of nodes 1 and 2 is not one: %v\n%.500s", err, lines)
	}
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	paths := 0
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if e, ok := token.(xml.StartElement); ok && (e.Name.Local == "path" || e.Name.Local == "rect") {
			paths++
		}
	}
	if paths == 0 {
		t.Errorf("%s shows nothing", path)
	}
}

// TestSimInterrupted ends a run before it has begun well: there is a summary all the same.
func TestSimInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, _, err := sim(t, ctx, "--nodes 5 --for 1000h --json")
	var r simReport
	if err := errors.Join(err, json.Unmarshal([]byte(out), &r)); err != nil || !r.Interrupted || r.Seconds > 2 {
		t.Errorf("%q, %v; want a report of an interrupted run", out, err)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if h.percentile(50) != 0 || h.mean() != 0 {
		t.Error("an empty histogram has values")
	}
	for v := range uint64(100_000) {
		h.add(v * v)
	}
	for _, p := range []float64{0, 1, 50, 99, 99.99, 100} {
		want := p / 100 * 100_000
		if got := float64(h.percentile(p)); got < want*want*0.998-2 || got > want*want*1.002+2 {
			t.Errorf("percentile %v is %v, want %v", p, got, want*want)
		}
	}
}

// TestSimLookups has every lookup of a wired network answered by the nearest
// node, and finds that node by a search through all.
func TestSimLookups(t *testing.T) {
	out, _, err := sim(t, t.Context(), "--json --nodes 40 --for 30s --scenario lookup --seed 5")
	var r simReport
	if err := errors.Join(err, json.Unmarshal([]byte(out), &r)); err != nil {
		t.Fatal(err)
	}
	if r.Calls.Answered < 50 || *r.Calls.Closest != r.Calls.Answered || r.Calls.Failed > 0 {
		t.Errorf("%+v, %d by the closest; want all lookups answered by it", r.Calls, *r.Calls.Closest)
	}
	m := meter{}
	for i := range 50 {
		id := identity.NodeID{byte(i)}
		m.ids, m.keys = append(m.ids, id), append(m.keys, id.Key())
	}
	m.sortByKey()
	for i := range 100 {
		key, nearest := identity.KeyOf([]byte{byte(i)}), 0
		for j, k := range m.keys {
			if key.Closer(k, m.keys[nearest]) {
				nearest = j
			}
		}
		if got := m.owner(key); got != m.ids[nearest] {
			t.Errorf("the owner of key %d is %v, want %v", i, got.Short(), m.ids[nearest].Short())
		}
	}
}
