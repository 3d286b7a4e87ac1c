//go:build !js

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/faultproxy"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

var messages = flag.Uint64("messages", 20_000, "messages that a tab sends and receives while its connections are cut")

const cuts = 20

// wasmDir is where the tab is built, once for all tests.
var wasmDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "plexus-tab-test-")
	if err != nil {
		panic(err)
	}
	wasmDir = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

var buildOnce = sync.OnceValues(func() (string, error) { return build(context.Background(), wasmDir) })

// wasm returns the tab, built.
func wasm(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped in -short: it builds a WebAssembly program")
	}
	began := time.Now()
	file, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err == nil {
		t.Logf("the tab has %.1f MiB; built, or waited for, in %.1f s", float64(info.Size())/(1<<20), time.Since(began).Seconds())
	}
	return file
}

// A node in Node.js, over WebSocket, whose connections break in the middle of
// messages, in three ways.
func TestNodeInNodeJS(t *testing.T) {
	t.Parallel()
	file := wasm(t)
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("skipped: there is no Node.js (node) on this machine")
	}
	loader, err := support(t.Context(), "wasm_exec_node.js")
	if err != nil {
		t.Fatal(err)
	}
	o := newOutside(t, "ws", "127.0.0.1:1")
	command := exec.Command(node, append([]string{loader, file}, o.args...)...)
	command.Env = append(os.Environ(), "NODE_OPTIONS=--experimental-websocket --no-warnings")
	o.watch(command)
}

// A node in a tab of Chromium, over WebTransport with the hash of a certificate
// that the native nodes have made themselves, and over WebSocket.
func TestNodeInChromium(t *testing.T) {
	for _, scheme := range []string{"wt", "ws"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			file := wasm(t)
			browser := findBrowser()
			if browser == "" {
				t.Skip("skipped: there is no Chromium on this machine")
			}
			loader, err := support(t.Context(), "wasm_exec.js")
			if err != nil {
				t.Fatal(err)
			}
			s := &site{wasm: file, loader: loader}
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handler().ServeHTTP(w, r) }))
			defer web.Close()
			o := newOutside(t, scheme, strings.TrimPrefix(web.URL, "http://"))
			s.args = o.args
			// Not --disable-quic: WebTransport is QUIC.
			o.watch(exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
				"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr", "--remote-debugging-port=0",
				"--user-data-dir="+t.TempDir(), web.URL))
		})
	}
}

func findBrowser() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// An outside is the native nodes of a test, and what cuts the connections of the
// tab to them: each of the first cuts/2 connections to each of the two nodes that it
// dials, after a number of bytes, all of which have passed before the tab has
// exchanged its messages.
type outside struct {
	*natives
	t    *testing.T
	ctx  context.Context
	args []string // for the tab
	cut  atomic.Int64
}

func newOutside(t *testing.T, scheme, origin string) *outside {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	o := &outside{t: t, ctx: ctx}
	each := *messages / 2
	after := int64(each) * 80 / (cuts / 2) // of the 150 bytes that a message has
	p := plan{transports: []string{scheme}, origins: []string{origin}, rate: 1 << 30, count: each}
	p.through = func(tr conn.Transport) conn.Transport { return tr }
	if scheme == "wt" {
		p.through = func(tr conn.Transport) conn.Transport { return &scissors{Transport: tr, o: o, after: after} }
	}
	var err error
	o.natives, err = startNatives(ctx, p)
	t.Cleanup(func() {
		cancel()
		o.wait()
	})
	if err != nil {
		t.Fatal(err)
	}
	o.args = []string{"-rate", strconv.FormatUint(p.rate, 10), "-count", strconv.FormatUint(each, 10)}
	for _, door := range o.doors {
		if scheme == "ws" {
			door.Addresses[0].Host = o.proxy(door.Addresses[0].Host, after)
		}
		o.args = append(o.args, door.String())
	}
	return o
}

// proxy returns the address of a proxy that cuts connections to a target, in one
// way after the other.
func (o *outside) proxy(target string, after int64) (addr string) {
	var count atomic.Int64
	p, err := faultproxy.NewProxy(target, faultproxy.Config{OnConn: func(c *faultproxy.Conn) {
		n := count.Add(1)
		if n > cuts/2 {
			return
		}
		up := []faultproxy.Fault{faultproxy.Reset, faultproxy.HalfUp, faultproxy.Close}[n%3]
		down := []faultproxy.Fault{faultproxy.Reset, faultproxy.HalfDown, faultproxy.Close}[n%3]
		c.BreakAt(faultproxy.Up, after, up)
		c.BreakAt(faultproxy.Down, after, down)
		go func() {
			<-c.Done()
			o.cut.Add(1)
		}()
	}})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { p.Close() })
	return p.Addr()
}

// until waits until something is so.
func (o *outside) until(what string, is func() bool) {
	o.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-o.ctx.Done():
			o.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// watch runs the tab, and checks what it and the native nodes do.
func (o *outside) watch(command *exec.Cmd) {
	var said bytes.Buffer
	command.Stdout, command.Stderr, command.WaitDelay = &said, &said, 5*time.Second
	end := newGroup(command)
	if err := command.Start(); err != nil {
		o.t.Fatal(err)
	}
	defer func() {
		end()
		_ = command.Wait() // it was killed
		if o.t.Failed() {
			for line := range strings.Lines(said.String()) {
				if !strings.Contains(line, "dbus") { // a browser has much to say where there is none
					o.t.Logf("the tab: %s", line)
				}
			}
		}
	}()
	tab := o.join()
	calling, stop := context.WithCancel(o.ctx)
	var calls int
	var work sync.WaitGroup
	work.Go(func() { calls = o.callAllTheTime(calling, tab) })
	o.exchange(tab)
	stop()
	work.Wait()
	o.calls(tab)
	if n := o.cut.Load(); n != cuts {
		o.t.Errorf("%d connections were cut, want %d", n, cuts)
	}
	if slices.ContainsFunc(o.back.State().Conns, func(c network.ConnState) bool { return c.Node == tab }) {
		o.t.Error("the node at the back is connected to the tab: nothing was relayed")
	}
	var renewed uint64
	for i, f := range o.fronts {
		c := o.connection(f, tab)
		renewed += c.Renewals
		if c.Direction != conn.Incoming || c.Renewals < cuts/4 {
			o.t.Errorf("front %d has the %s connection %d, renewed %d times", i, c.Direction, c.ID, c.Renewals)
		}
	}
	o.t.Logf("%d messages each way, %d cuts, %d renewals, %d calls meanwhile", *messages, o.cut.Load(), renewed, calls)
}

// join waits until the tab is connected to both fronts, and all natives to each
// other. It returns who the tab is.
func (o *outside) join() (tab identity.NodeID) {
	native := []identity.NodeID{o.fronts[0].Self(), o.fronts[1].Self(), o.back.Self()}
	for i, f := range o.fronts {
		o.until(fmt.Sprintf("front %d is connected to all", i), func() bool {
			conns := f.State().Conns
			for _, c := range conns {
				if !slices.Contains(native, c.Node) {
					tab = c.Node
				}
			}
			return len(conns) == 3
		})
	}
	return tab
}

// connection returns the connection of a native node to the tab.
func (o *outside) connection(m *member, tab identity.NodeID) network.ConnState {
	o.t.Helper()
	for _, c := range m.State().Conns {
		if c.Node == tab {
			return c
		}
	}
	o.t.Fatal("the connection to the tab has ended")
	return network.ConnState{}
}

// exchange waits until all messages have come, and compares what both ends have
// counted: nothing is lost, nothing comes twice, nothing is out of order, and all is
// as it was sent.
func (o *outside) exchange(tab identity.NodeID) {
	each := *messages / 2
	for i, f := range o.fronts {
		var mine, theirs Tally
		o.until(fmt.Sprintf("the messages between the tab and front %d", i), func() bool {
			open, ended, err := f.meter.Tallies(o.ctx)
			if err != nil || ended > 0 {
				o.t.Fatalf("front %d: %d connections have ended, %v", i, ended, err)
			}
			mine = open[tab]
			theirs, err = Report.Call(o.ctx, &f.meter.Client, router.ToNode(tab), struct{}{})
			if err != nil {
				o.t.Fatalf("front %d asks the tab for its report: %v", i, err)
			}
			return mine.Received >= each && theirs.Received >= each && mine.Sent == each && theirs.Sent == each
		})
		want := Tally{Sent: each, Received: each, SentSum: theirs.ReceivedSum, ReceivedSum: theirs.SentSum}
		if mine != want {
			o.t.Errorf("front %d has counted\n\t%+v, want\n\t%+v", i, mine, want)
		}
		if theirs.Received != each || theirs.Lost+theirs.Repeated > 0 {
			o.t.Errorf("the tab has counted of front %d\n\t%+v", i, theirs)
		}
		if i == 1 && mine.SentSum == mine.ReceivedSum {
			o.t.Error("the sums are the same in both directions: they say nothing")
		}
	}
}

// callAllTheTime has the node at the back, which has no connection to the tab, call
// it again and again while connections break. Every call is answered.
func (o *outside) callAllTheTime(ctx context.Context, tab identity.NodeID) (calls int) {
	for ctx.Err() == nil {
		if _, err := Greet.Call(o.ctx, &o.back.meter.Client, router.ToNode(tab), struct{}{}); err != nil {
			o.t.Errorf("call %d from the back: %v", calls, err)
			return calls
		}
		calls++
	}
	return calls
}

// calls checks calls both ways, direct and over a relay.
func (o *outside) calls(tab identity.NodeID) {
	for name, native := range map[string]*member{"a front": o.fronts[0], "the back": o.back} {
		said, err := Greet.Call(o.ctx, &native.meter.Client, router.ToNode(tab), struct{}{})
		if want := fmt.Sprintf("hello %s, I am js/wasm", native.Self().Short()); said != want || err != nil {
			o.t.Errorf("the tab said %q to %s, %v; want %q", said, name, err, want)
		}
		// Now the tab calls.
		said, err = Visit.Call(o.ctx, &o.fronts[1].meter.Client, router.ToNode(tab), native.Self().String())
		if want := fmt.Sprintf("hello %s, I am ", tab.Short()); !strings.HasPrefix(said, want) || strings.Contains(said, "js") || err != nil {
			o.t.Errorf("%s said %q to the tab, %v; want %q", name, said, err, want)
		}
	}
}

// Scissors cut connections that are accepted.
type scissors struct {
	conn.Transport
	o     *outside
	after int64
}

func (s *scissors) Listen(ctx context.Context, local conn.Local, addr identity.Address) (conn.Listener, error) {
	l, err := s.Transport.Listen(ctx, local, addr)
	return &blades{Listener: l, scissors: s, left: cuts / 2}, err
}

type blades struct {
	conn.Listener
	scissors *scissors
	left     int
}

func (b *blades) Accept(ctx context.Context) (conn.Conn, error) {
	c, err := b.Listener.Accept(ctx)
	if err != nil || b.left == 0 {
		return c, err
	}
	b.left--
	return &cutConn{Conn: c, scissors: b.scissors, left: int(b.scissors.after)}, nil
}

// A cutConn closes when so many bytes have been read from it. What comes after them,
// and what has been written and not sent, is lost.
type cutConn struct {
	conn.Conn
	scissors *scissors
	left     int
}

func (c *cutConn) Features() conn.Features { return conn.Features{} }

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		c.scissors.o.cut.Add(1)
		c.Conn.Close(nil)
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
