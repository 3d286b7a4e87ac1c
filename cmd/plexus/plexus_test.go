package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// Package kcp-go starts these for the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).sched"),
		goleak.IgnoreTopFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).prepend"),
	)
}

// TestWrongUse checks that mistakes get one line that says what is allowed.
func TestWrongUse(t *testing.T) {
	for args, want := range map[string]string{
		"up --nodes 1":         "2 to 256",
		"up --nodes many":      "plexus up --help",
		"up --for -1s":         "positive lengths",
		"up --transport smoke": "allowed are quic, tcp,",
		"up more":              "unknown command",
		"node --listen here":   "scheme",
		"node --join nobody":   "id@scheme://host:port",
		"call somebody echo":   "node:ID, key:NAME and service:NUMBER",
		"call key: echo":       "no name",
		"call service:0 echo":  "1 to 65535",
		"peers --control /no":  "start one with plexus up",
		"id /no/such/file":     "no such file",
	} {
		c := root()
		c.SetArgs(strings.Fields(args))
		err := c.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("plexus %s: error %q, want one line with %q", args, err, want)
		}
	}
}

// TestKeyAndID makes a key, and will not overwrite it.
func TestKeyAndID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	key, err := loadOrMake(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadOrMake(path)
	if err != nil || again.ID() != key.ID() {
		t.Errorf("loaded again: %v, %v; want %v", again.ID(), err, key.ID())
	}
	c := root()
	c.SetArgs([]string{"key", path})
	if err := c.Execute(); err == nil {
		t.Error("plexus key has overwritten a key")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadOrMake(path); err == nil {
		t.Error("a key that others can read was loaded")
	}
}

func TestParseTarget(t *testing.T) {
	id, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]router.Route{
		"node:" + id.ID().String(): router.ToNode(id.ID()).At(70),
		"key:blue":                 router.ToKey(identity.KeyOf([]byte("blue"))).At(70),
		"service:71":               router.ToService(71),
	} {
		if got, err := parseTarget(s, 70); got != want || err != nil {
			t.Errorf("parseTarget(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
}

// TestControl talks to a node over its control socket.
func TestControl(t *testing.T) {
	n, err := plexus.Start(t.Context(), plexus.Config{Transports: []conn.Transport{mem.NewNetwork().Transport()}, Listen: []string{"mem://one"}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(context.Background())
	d := newDemo()
	if err := n.Register(demoService, d); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "control")
	ctl, err := serveControl(path, &controlled{Node: n, demo: d})
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	if other, err := serveControl(path, nil); err == nil {
		other.close()
		t.Error("two nodes share a control socket")
	}
	self := "node:" + n.Self().String()
	for args, want := range map[string]string{
		"call " + self + " echo hi": "hi\n",
		"call key:blue whoami":      n.Self().String() + "\n",
		"routes " + self:            "deliver",
		"peers":                     "this node: " + n.PeerAddress().String(),
		"send " + self + " hello":   "",
	} {
		c := root()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetArgs(append(strings.Fields(args), "--control", path))
		if err := c.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("plexus %s: %q, %v; want %q", args, out.String(), err, want)
		}
	}
	for _, q := range []request{{Op: "dance"}, {Op: "call", Target: self, Method: "dance"}, {Op: "send", Target: "x"}} {
		if _, err := ask(path, q); err == nil {
			t.Errorf("request %+v was taken", q)
		}
	}
}

// TestUp runs a small network and reads its last report.
func TestUp(t *testing.T) {
	s := &swarm{opts: upOptions{nodes: 4, transport: "mem"}}
	defer s.close()
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	screen := &screen{w: &out, json: true}
	screen.show(s.snapshot(report{}))
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Nodes != 4 {
		t.Errorf("report %q: %v", out.String(), err)
	}
}
