//go:build !js

package ws_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/conn/ws/testdata/carry"
	"github.com/plexus-net/plexus/identity"
)

// A node in JavaScript keeps deadlines, is held back by who does not read, and
// does not keep more than it may of what it does not read itself. It and one
// outside exchange 100,000 messages each way while their connections are cut:
// nothing that arrives is wrong or out of order, and each dial goes on where the
// last connection ended.
func TestNodeInJavaScript(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in -short: it builds a WebAssembly program")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("skipped: there is no Node.js (node) on this machine")
	}
	const total, cuts = 100_000, 20
	program := buildWasm(t, "./testdata/peer")
	key := newKey(t)
	tr := ws.New()
	defer tr.Close()
	l, err := tr.Listen(context.Background(), conn.Local{Key: key}, identity.Address{Scheme: "ws", Host: "127.0.0.1:0", Path: "/node"})
	if err != nil {
		t.Fatal(err)
	}
	flooded, err := tr.Listen(context.Background(), conn.Local{Key: key}, identity.Address{Scheme: "ws", Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	held, err := tr.Listen(context.Background(), conn.Local{Key: key}, identity.Address{Scheme: "ws", Host: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	front := newCutter(t, l.Addr().Host, cuts, total*64/(cuts+1))
	peer := identity.PeerAddress{ID: key.ID(), Addresses: []identity.Address{{Scheme: "ws", Host: front.addr(), Path: "/node"}, held.Addr(), flooded.Addr()}}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	end := carry.End{Total: total}
	var work sync.WaitGroup
	work.Go(func() { hold(ctx, held) })
	work.Go(func() { flood(ctx, flooded) })
	work.Go(func() {
		for {
			c, err := l.Accept(ctx)
			if err != nil {
				return
			}
			if err := end.Run(c); err != nil {
				t.Error(err)
			}
			c.Close(nil)
		}
	})
	command := exec.CommandContext(ctx, node, wasmExec(t), program, peer.String(), strconv.Itoa(total))
	command.Env = append(os.Environ(), "NODE_OPTIONS=--experimental-websocket --no-warnings --max-old-space-size=512")
	out, err := command.CombinedOutput()
	l.Close()
	held.Close()
	flooded.Close()
	work.Wait()
	if err != nil || !strings.HasPrefix(string(out), "done ") {
		t.Fatalf("node: %v: %s", err, out)
	}
	// The program has ended well: what it said last to this end may be lost with
	// its connection.
	if end.Received != end.Total || end.Conns < cuts/2 || front.count.Load() < cuts {
		t.Errorf("%d of %d messages came, %d have arrived; over %d connections with %d cuts", end.Received, total, end.Acked, end.Conns, front.count.Load())
	}
	t.Logf("%d messages each way over %d connections", total, end.Conns)
}

// hold accepts connections and leaves them alone until ctx or l ends.
func hold(ctx context.Context, l conn.Listener) {
	for {
		c, err := l.Accept(ctx)
		if err != nil {
			return
		}
		defer c.Close(nil)
	}
}

// flood accepts a connection and writes as much as it takes.
func flood(ctx context.Context, l conn.Listener) {
	c, err := l.Accept(ctx)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { c.Close(nil) })()
	defer c.Close(nil)
	for p := make([]byte, 256<<10); err == nil; {
		_, err = c.Write(p)
	}
}

// wasmExec returns what runs a WebAssembly program in Node.js.
func wasmExec(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "lib", "wasm", "wasm_exec_node.js")
}

// buildWasm builds a program for JavaScript.
func buildWasm(t *testing.T, dir string) string {
	out := filepath.Join(t.TempDir(), "peer.wasm")
	build := exec.Command("go", "build", "-o", out, dir)
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v: %s", dir, err, text)
	}
	return out
}

func newKey(t testing.TB) identity.PrivateKey {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A cutter is a TCP proxy that cuts the first connections through it, each after
// a number of bytes, every second one by a reset.
type cutter struct {
	net   net.Listener
	left  atomic.Int64
	count atomic.Int64
}

func newCutter(t *testing.T, to string, cuts, after int64) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{net: l}
	c.left.Store(cuts)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { c.forward(in, to, after) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		work.Wait()
	})
	return c
}

func (c *cutter) addr() string { return c.net.Addr().String() }

func (c *cutter) forward(in net.Conn, to string, after int64) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	cut := c.left.Add(-1) >= 0
	var work sync.WaitGroup
	work.Go(func() {
		_, _ = io.Copy(in, out)
		in.Close()
	})
	if !cut {
		_, _ = io.Copy(out, in)
	} else if _, err := io.CopyN(out, in, after); !errors.Is(err, io.EOF) {
		if n := c.count.Add(1); n%2 == 0 {
			_ = out.(*net.TCPConn).SetLinger(0)
			_ = in.(*net.TCPConn).SetLinger(0)
		}
	}
	out.Close()
	in.Close()
	work.Wait()
}
