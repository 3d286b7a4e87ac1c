package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/plexus-net/plexus"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// A request is one line of JSON from a client of the control socket.
type request struct {
	Op      string `json:"op"` // peers, routes, call, send
	Target  string `json:"target,omitempty"`
	Method  string `json:"method,omitempty"`
	Payload string `json:"payload,omitempty"`
	Service uint16 `json:"service,omitempty"`
}

// A response is one line of JSON to it.
type response struct {
	Error string   `json:"error,omitempty"`
	Lines []string `json:"lines,omitempty"`
}

// maxRequest bounds a line from a client.
const maxRequest = 1 << 20

// defaultControl is where the socket is if nobody says otherwise.
func defaultControl() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = os.TempDir()
		return filepath.Join(dir, fmt.Sprintf("plexus-%d.sock", os.Getuid()))
	}
	return filepath.Join(dir, "plexus.sock")
}

// controlled is what the socket acts on.
type controlled struct {
	*plexus.Node
	demo *demo
}

// A control is a control socket that is served.
type control struct {
	l    net.Listener
	path string
	wg   sync.WaitGroup
	mu   sync.Mutex // guards open
	open map[net.Conn]bool
}

// serveControl serves a Unix socket that only this user may use. A socket that
// a process which has gone left behind is replaced; one in use is an error.
func serveControl(path string, n *controlled) (*control, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s is in use by another node; give each its own with --control", path)
	} else if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		os.Remove(path)
	}
	// The socket is made where nobody else can reach it, and moved into place.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".plexus-*") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	hidden := filepath.Join(dir, "s")
	l, err := net.Listen("unix", hidden)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(hidden, 0o600), os.Rename(hidden, path)); err != nil {
		l.Close()
		return nil, err
	}
	c := &control{l: l, path: path, open: make(map[net.Conn]bool)}
	c.wg.Go(func() { c.accept(n) })
	return c, nil
}

// flag returns the flag that clients need to find the socket.
func (c *control) flag() string {
	if c.path == defaultControl() {
		return ""
	}
	return " (with --control " + c.path + ")"
}

func (c *control) close() {
	os.Remove(c.path)
	c.l.Close()
	c.mu.Lock()
	for nc := range c.open {
		nc.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

func (c *control) accept(n *controlled) {
	for {
		nc, err := c.l.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.open[nc] = true
		c.mu.Unlock()
		c.wg.Go(func() {
			defer func() {
				nc.Close()
				c.mu.Lock()
				delete(c.open, nc)
				c.mu.Unlock()
			}()
			n.serve(nc)
		})
	}
}

// serve answers the requests of one client.
func (n *controlled) serve(nc net.Conn) {
	in := bufio.NewScanner(nc)
	in.Buffer(nil, maxRequest)
	out := json.NewEncoder(nc)
	for in.Scan() {
		var q request
		var a response
		err := json.Unmarshal(in.Bytes(), &q)
		if err == nil {
			a.Lines, err = n.answer(q)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if out.Encode(a) != nil {
			return
		}
	}
}

func (n *controlled) answer(q request) ([]string, error) {
	switch q.Op {
	case "peers":
		return n.peers()
	case "routes":
		return n.routes(q.Target)
	case "call":
		to, err := parseTarget(q.Target, identity.ServiceID(q.Service))
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		defer cancel()
		answer, err := n.callText(ctx, to, q.Method, q.Payload)
		return []string{answer}, err
	case "send":
		to, err := parseTarget(q.Target, demoService)
		if err == nil {
			err = n.demo.send(to, q.Payload)
		}
		return nil, err
	}
	return nil, fmt.Errorf("operation %q is not known", q.Op)
}

// parseTarget reads node:ID, key:NAME or service:NUMBER.
func parseTarget(s string, service identity.ServiceID) (router.Route, error) {
	kind, value, _ := strings.Cut(s, ":")
	switch kind {
	case "node":
		id, err := identity.ParseNodeID(value)
		return router.ToNode(id).At(service), err
	case "key":
		if value == "" {
			return router.Route{}, fmt.Errorf("target %q has no name after the colon", s)
		}
		return router.ToKey(identity.KeyOf([]byte(value))).At(service), nil
	case "service":
		id, err := identity.ParseServiceID(value)
		return router.ToService(id), err
	}
	return router.Route{}, fmt.Errorf("target is %q; allowed are node:ID, key:NAME and service:NUMBER", s)
}

// peers lists the connections, then the nodes that are known otherwise.
func (n *controlled) peers() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	known, err := n.Discovery.Peers(ctx)
	if err != nil {
		return nil, err
	}
	lines := []string{"this node: " + n.PeerAddress().String()}
	connected := make(map[identity.NodeID]bool)
	for _, c := range n.Node.Node.State().Conns {
		connected[c.Node] = true
		rtt, _ := n.Latency.RTT(c.Node)
		lines = append(lines, fmt.Sprintf("connected  %s  %-8s  %s  %.2f ms", c.Node, c.Direction, c.Remote, milliseconds(rtt)))
	}
	for _, p := range known {
		if !connected[p.ID] {
			lines = append(lines, fmt.Sprintf("known      %s", identity.PeerAddress{ID: p.ID, Addresses: p.Addresses}))
		}
	}
	return lines, nil
}

// routes lists the next step to each known node, or to one target.
func (n *controlled) routes(target string) ([]string, error) {
	via := func(to router.Route) string {
		action := router.PathTo(n.Router, to, 0)
		for _, c := range n.Node.Node.State().Conns {
			if c.ID == action.Conn() {
				return "via " + c.Node.String()
			}
		}
		return action.String()
	}
	if target != "" {
		to, err := parseTarget(target, 0)
		if err != nil {
			return nil, err
		}
		return []string{to.String() + "  " + via(to)}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	known, err := n.Discovery.Peers(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, p := range known {
		lines = append(lines, fmt.Sprintf("%s  %s", p.ID, via(router.ToNode(p.ID))))
	}
	return lines, nil
}
