//go:build !js

// Command tab makes a browser tab a node: it starts three native nodes and a web
// server, whose page joins them over WebTransport or WebSocket.
//
//	go run ./examples/tab
//
// The same package, built for js/wasm, is what runs in the tab.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "tab:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	port       uint
	transports []string
	rate       uint64
	wasm       string
}

func parse(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("tab", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprintln(out, "usage: tab [flags]\n\nStarts three native nodes, and serves a page on 127.0.0.1 that is a fourth one.\n\nflags:")
		flags.PrintDefaults()
	}
	flags.UintVar(&o.port, "port", 0, "`port` of the page; 0: a free one")
	transports := flags.String("transports", "wt,ws", "how tabs connect: wt (WebTransport), ws (WebSocket), or both, the preferred one first")
	flags.Uint64Var(&o.rate, "rate", 200, "`messages` a second on each connection of a tab, each way; 1 to 20000")
	flags.StringVar(&o.wasm, "wasm", "", "a `file` built with GOOS=js GOARCH=wasm go build ./examples/tab; default: build one")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.transports = strings.Split(*transports, ",")
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected %q; there are only flags (-h tells which)", flags.Arg(0))
	case o.port > 65535:
		return o, fmt.Errorf("-port %d is no port; want 0 to 65535", o.port)
	case o.rate < 1 || o.rate > 20000:
		return o, fmt.Errorf("-rate %d is out of range; want 1 to 20000", o.rate)
	}
	seen := map[string]bool{}
	for _, t := range o.transports {
		if !slices.Contains([]string{"wt", "ws"}, t) || seen[t] {
			return o, fmt.Errorf("-transports %q; want wt, ws, wt,ws or ws,wt", *transports)
		}
		seen[t] = true
	}
	if o.wasm != "" {
		if _, err := os.Stat(o.wasm); err != nil {
			return o, fmt.Errorf("-wasm: %w", err)
		}
	}
	return o, nil
}

// run serves the page until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	s := &site{wasm: o.wasm}
	if s.loader, err = support(ctx, "wasm_exec.js"); err != nil {
		return err
	}
	if s.wasm == "" {
		dir, err := os.MkdirTemp("", "plexus-tab-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		fmt.Fprintln(out, "building the tab for js/wasm ...")
		if s.wasm, err = build(ctx, dir); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(o.port))))
	if err != nil {
		return err
	}
	defer l.Close()
	running, stop := context.WithCancel(ctx)
	cable := &cable{}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	origins := []string{l.Addr().String(), net.JoinHostPort("localhost", port)}
	n, err := startNatives(running, plan{transports: o.transports, origins: origins, rate: o.rate, through: cable.into})
	defer func() {
		stop()
		n.wait()
	}()
	if err != nil {
		return err
	}
	s.args = []string{"-rate", strconv.FormatUint(o.rate, 10)}
	for _, door := range n.doors {
		s.args = append(s.args, door.String())
	}
	s.pull = cable.pull
	fmt.Fprintf(out, "open http://%s in a browser, in several tabs if you like; ^C ends it\n", l.Addr())
	return serve(ctx, l, s.handler())
}

// serve answers requests until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}
