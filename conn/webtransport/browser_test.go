//go:build !js

package webtransport_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/webtransport"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/conn/ws/testdata/carry"
	"github.com/plexus-net/plexus/identity"
)

// page runs the program of the URL's query and posts what it prints.
const page = `<!doctype html><meta charset="utf-8"><script src="wasm_exec.js"></script><script>
const say = text => fetch("result", {method: "POST", body: text});
let out = "";
console.log = text => { out += text + "\n"; };
window.onerror = text => say("failed: " + text);
window.onunhandledrejection = e => say("failed: unhandled " + e.reason);
const go = new Go();
go.argv = ["peer", ...new URLSearchParams(location.search).getAll("arg")];
WebAssembly.instantiateStreaming(fetch("peer.wasm"), go.importObject)
	.then(r => go.run(r.instance)).then(() => say(out)).catch(e => say("failed: " + e));
</script>`

// A node in a tab of Chromium keeps deadlines and is held back by who does not
// read. It and one outside exchange messages each way, over
// WebTransport with the hash of a certificate that the node has made itself, and
// over WebSocket, while the node outside cuts their connections.
func TestNodeInChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in -short: it builds a WebAssembly program and starts a browser")
	}
	browser := findBrowser()
	if browser == "" {
		t.Skip("skipped: there is no chromium on this machine")
	}
	results := make(chan string, 1)
	site := serveSite(t, results)
	origins := []string{strings.TrimPrefix(site, "http://")}
	for _, c := range []struct {
		at        identity.Address
		transport conn.Transport
	}{
		{identity.Address{Scheme: "wt", Host: "127.0.0.1:0", Path: "/node"}, webtransport.NewWith(webtransport.Config{Origins: origins})},
		{identity.Address{Scheme: "ws", Host: "127.0.0.1:0", Path: "/node"}, ws.NewWith(ws.Config{Origins: origins})},
	} {
		t.Run(c.at.Scheme, func(t *testing.T) {
			defer c.transport.Close()
			visit(t, browser, site, c.transport, c.at, results)
		})
	}
}

func visit(t *testing.T, browser, site string, tr conn.Transport, at identity.Address, results <-chan string) {
	const total, cuts = 100_000, 10
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tr.Listen(ctx, conn.Local{Key: key}, at)
	if err != nil {
		t.Fatal(err)
	}
	at.Path = "/held"
	held, err := tr.Listen(ctx, conn.Local{Key: key}, at)
	if err != nil {
		t.Fatal(err)
	}
	end := carry.End{Total: total}
	var work sync.WaitGroup
	work.Go(func() { hold(ctx, held) })
	work.Go(func() {
		for {
			c, err := l.Accept(ctx)
			if err != nil {
				return
			}
			var cut conn.Conn = c
			if end.Conns < cuts {
				cut = &cutting{Conn: c, left: total * 64 / (cuts + 1)}
			}
			if err := end.Run(cut); err != nil {
				t.Error(err)
			}
			c.Close(nil)
		}
	})
	peer := identity.PeerAddress{ID: key.ID(), Addresses: []identity.Address{l.Addr(), held.Addr()}}
	result := browse(ctx, t, browser, site, results, peer.String(), strconv.Itoa(total))
	l.Close()
	held.Close()
	work.Wait()
	if !strings.HasPrefix(result, "done ") {
		t.Fatalf("the page says %q", result)
	}
	// The page has said that it is done: what it said last to this end may be
	// lost with its connection.
	if end.Received != total || end.Conns <= cuts {
		t.Errorf("%d of %d messages came, %d have arrived; over %d connections with %d cuts", end.Received, total, end.Acked, end.Conns, cuts)
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

// A cutting connection closes after it has read so many bytes.
type cutting struct {
	conn.Conn
	left int
}

func (c *cutting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left -= n; c.left < 0 {
		c.Close(nil)
		return 0, net.ErrClosed
	}
	return n, err
}

func findBrowser() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// serveSite serves the page and its program, and passes on what it posts.
func serveSite(t *testing.T, results chan<- string) (url string) {
	wasm := buildWasm(t, "./testdata/peer")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page)
	})
	mux.HandleFunc("/peer.wasm", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/wasm")
		http.ServeFile(w, r, wasm)
	})
	mux.HandleFunc("/wasm_exec.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	})
	mux.HandleFunc("/result", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		select {
		case results <- string(text):
		default: // only the first counts
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// browse opens the page with arguments and returns what it posts.
func browse(ctx context.Context, t *testing.T, browser, site string, results <-chan string, args ...string) string {
	t.Helper()
	url := site + "/?"
	for _, a := range args {
		url += "&arg=" + strings.NewReplacer("&", "%26", "+", "%2B", "=", "%3D", "?", "%3F").Replace(a)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Not --disable-quic: WebTransport is QUIC.
	command := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(), "--remote-debugging-port=0", url)
	own := newGroup(command)
	var log strings.Builder
	command.Stderr = &log
	command.WaitDelay = 5 * time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		own()
		stop()
		_ = command.Wait() // it was killed
	}()
	select {
	case result := <-results:
		return result
	case <-ctx.Done():
		return "nothing; the browser: " + log.String()
	}
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
