//go:build !js

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/agent/agenttest"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behavior/behaviortest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/routertest"
)

func TestBadFlags(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-nonsense", "not defined"},
		{"hello", "there are only flags"},
		{"-port 70000", "want 0 to 65535"},
		{"-rate 0", "want 1 to 20000"},
		{"-rate 20001", "want 1 to 20000"},
		{"-transports wt,ws,wt", "want wt, ws"},
		{"-transports quic", "want wt, ws"},
		{"-wasm nowhere/tab.wasm", "no such file"},
	} {
		err := run(t.Context(), strings.Fields(tt.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"-h"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "-transports") {
		t.Errorf("-h: %v, %s", err, out.String())
	}
}

// The page, what it needs, and its button: not for other pages. The end of the
// context is the end of all.
func TestSite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tab.wasm")
	if err := os.WriteFile(file, []byte("\x00asm"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-wasm", file, "-rate", "7"}, in)
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(line)
	if url == "" {
		t.Fatalf("it printed %q, %v", line, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	do := func(method, path, origin string) (string, *http.Response) {
		r, err := http.NewRequestWithContext(ctx, method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text), answer
	}
	if text, answer := do("GET", "/", ""); !strings.Contains(text, "tab.wasm") || strings.Contains(text, "://") || answer.StatusCode != 200 {
		t.Errorf("the page is %s, and must not need anything from elsewhere: %s", answer.Status, text)
	}
	if text, answer := do("GET", "/tab.wasm", ""); text != "\x00asm" || answer.Header.Get("Content-Type") != "application/wasm" {
		t.Errorf("the program is %q, %v", text, answer.Header)
	}
	if text, _ := do("GET", "/wasm_exec.js", ""); !strings.Contains(text, "globalThis.Go") {
		t.Error("the loader is not that of Go")
	}
	var args []string
	text, _ := do("GET", "/tab.json", "")
	if err := json.Unmarshal([]byte(text), &args); err != nil || len(args) != 4 || args[1] != "7" {
		t.Errorf("the arguments are %q, %v", text, err)
	}
	for _, arg := range args[2:] {
		if p, err := identity.ParsePeerAddress(arg); err != nil || len(p.Addresses) != 2 || p.Addresses[0].Scheme != "wt" || p.Addresses[1].Scheme != "ws" {
			t.Errorf("seed %q, %v", arg, err)
		}
	}
	if text, answer := do("POST", "/pull", url); text != "0" || answer.StatusCode != 200 {
		t.Errorf("the button answers %s %q", answer.Status, text)
	}
	if _, answer := do("POST", "/pull", "http://elsewhere.example"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("the button of another page answers %s", answer.Status)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run = %v", err)
	}
}

// What holds for every behaviour holds for a Meter.
func TestMeterRules(t *testing.T) {
	behaviortest.Run(t, func() behavior.Behavior { return NewMeter(true, 1000, 0) })
}

// A stream sees what is lost and what comes twice.
func TestStreamCounts(t *testing.T) {
	rec := agenttest.New(agenttest.Config{})
	c := rec.Connect(conn.Info{Node: agenttest.Node("a"), Direction: conn.Incoming})
	m := NewMeter(false, 1000, 5)
	s := m.OnConnect(rec.Behavior(), c).(*stream)
	h := rec.Handler(c.ID)
	s.OnTick(h, h.Now())
	if got := rec.Take(); len(got) != 0 {
		t.Errorf("before it was sent anything it did %q", got)
	}
	for _, number := range []uint64{0, 1, 4, 3, 4, 5} {
		s.OnMessage(h, rec.Message(c, kindNumber, binary.BigEndian.AppendUint64(nil, number)))
	}
	s.OnMessage(h, rec.Message(c, kindNumber, []byte("short")))
	s.OnMessage(h, rec.Message(c, kindNumber+1, make([]byte, 8)))
	if s.tally.Received != 6 || s.tally.Lost != 2 || s.tally.Repeated != 2 {
		t.Errorf("of 0 1 4 3 4 5 it counts %+v", s.tally)
	}
	s.OnTick(h, h.Now())
	s.OnTick(h, h.Now().Add(3*tick)) // 60 are due, 5 in all
	if s.tally.Sent != 5 {
		t.Errorf("it has sent %d messages, want 5", s.tally.Sent)
	}
}

// Payloads are what both ends compute them to be, and differ.
func TestPayload(t *testing.T) {
	a, b := agenttest.Node("a"), agenttest.Node("b")
	for number := range uint64(1000) {
		p := payload(a, number)
		if string(p) != string(payload(a, number)) || string(p[8:]) == string(payload(b, number)[8:]) && len(p) > 16 {
			t.Fatalf("payload %d", number)
		}
		if len(p) < 8 || len(p) > largest || binary.BigEndian.Uint64(p) != number {
			t.Fatalf("payload %d has %d bytes, number %d", number, len(p), binary.BigEndian.Uint64(p))
		}
	}
}

func TestLeafConformance(t *testing.T) {
	routertest.Run(t, func(self identity.NodeID) router.Table { return newLeaf(self) })
}

// A leaf sends what Kademlia knows no way for over its oldest connection, and does
// not hand on in this way what comes from others.
func TestLeaf(t *testing.T) {
	self := agenttest.Node("leaf")
	l := newLeaf(self)
	var far identity.NodeID // of which no neighbour is closer
	for i := byte('a'); i <= 'z'; i++ {
		far = agenttest.Node(string([]byte{i}))
		if k := far.Key(); k.Closer(self.Key(), agenttest.Node("x").Key()) && k.Closer(self.Key(), agenttest.Node("y").Key()) {
			break
		}
	}
	expect := func(what string, in identity.ConnID, want router.Action) {
		t.Helper()
		if got := l.PathToNode(far, in); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("alone", 0, router.Reject())
	l.AddLink(router.Link{Conn: 3, Node: agenttest.Node("x")})
	l.AddLink(router.Link{Conn: 5, Node: agenttest.Node("y")})
	l.AddLink(router.Link{Conn: 3, Node: agenttest.Node("x")}) // its services have changed
	expect("from here", 0, router.Forward(3))
	expect("from another node", 5, router.Reject())
	l.RemoveLink(3)
	expect("after the oldest has ended", 0, router.Forward(5))
	l.RemoveLink(5)
	expect("after all have", 0, router.Reject())
}
