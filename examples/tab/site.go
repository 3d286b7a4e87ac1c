//go:build !js

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed page.html
var page []byte

// program is the import path of this command, which for js/wasm is the tab.
const program = "github.com/plexus-net/plexus/examples/tab"

// build builds the tab into a directory and returns its file. It takes a second
// where most of it is in the build cache, else a minute.
func build(ctx context.Context, dir string) (wasm string, err error) {
	wasm = filepath.Join(dir, "tab.wasm")
	command := exec.CommandContext(ctx, "go", "build", "-o", wasm, program)
	command.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if text, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build for js/wasm: %w: %s (run it in the plexus repository, or give -wasm)", err, strings.TrimSpace(string(text)))
	}
	return wasm, nil
}

// support returns the file of the Go distribution that loads programs: wasm_exec.js
// for pages, wasm_exec_node.js for Node.js.
func support(ctx context.Context, name string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w; the page needs %s of the Go that has built the tab", err, name)
	}
	file := filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", name)
	_, err = os.Stat(file)
	return file, err
}

// A site is what the web server of the page serves.
type site struct {
	wasm, loader string   // files
	args         []string // of the tab
	pull         func() (broken int)
}

// handler returns the site. Other pages cannot pull its cables.
func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	file := func(name, kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeFile(w, r, name)
		}
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page) // who does not read it has left
	})
	mux.HandleFunc("GET /tab.wasm", file(s.wasm, "application/wasm"))
	mux.HandleFunc("GET /wasm_exec.js", file(s.loader, "text/javascript"))
	mux.HandleFunc("GET /tab.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.args) // as above
	})
	mux.HandleFunc("POST /pull", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, s.pull())
	})
	return http.NewCrossOriginProtection().Handler(mux)
}
