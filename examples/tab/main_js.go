package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall/js"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/webtransport"
	"github.com/plexus-net/plexus/conn/ws"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
)

// In a tab, the command is a node. Its arguments are the peer addresses of nodes to
// join through.
func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("tab", flag.ContinueOnError)
	rate := flags.Uint64("rate", 0, "messages a second on each connection, each way")
	count := flags.Uint64("count", 0, "after how many to end; 0: never")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var seeds []identity.PeerAddress
	for _, text := range flags.Args() {
		seed, err := identity.ParsePeerAddress(text)
		if err != nil {
			return err
		}
		seeds = append(seeds, seed)
	}
	m, err := newMember(parts{
		transports: []conn.Transport{webtransport.New(), ws.New()},
		seeds:      seeds, leaf: true, meter: NewMeter(true, *rate, *count),
	})
	if err != nil {
		return err
	}
	if js.Global().Get("document").Truthy() {
		defer m.serve()()
		go m.show(ctx)
	}
	return m.Run(ctx)
}

// serve gives the page a function that calls a node, and has the node say goodbye
// when the page is left.
func (m *member) serve() (stop func()) {
	call := js.FuncOf(func(_ js.Value, args []js.Value) any {
		whom := args[0].String()
		return promise(func() (string, error) { return m.call(context.Background(), whom) })
	})
	js.Global().Set("callNode", call)
	leave := js.FuncOf(func(js.Value, []js.Value) any {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // a page that is left has no time
		go m.Close(ctx)
		return nil
	})
	js.Global().Call("addEventListener", "pagehide", leave)
	return func() {
		js.Global().Call("removeEventListener", "pagehide", leave)
		call.Release()
		leave.Release()
	}
}

// promise runs what blocks beside JavaScript, which must not.
func promise(f func() (string, error)) js.Value {
	executor := js.FuncOf(func(_ js.Value, settle []js.Value) any {
		go func() {
			if text, err := f(); err != nil {
				settle[1].Invoke(err.Error())
			} else {
				settle[0].Invoke(text)
			}
		}()
		return nil
	})
	defer executor.Release() // it is called at once
	return js.Global().Get("Promise").New(executor)
}

// call greets a node, and has it greet this one.
func (m *member) call(ctx context.Context, whom string) (string, error) {
	id, err := identity.ParseNodeID(whom)
	if err != nil {
		return "", err
	}
	said, err := Greet.Call(ctx, &m.meter.Client, router.ToNode(id), struct{}{})
	if err != nil {
		return "", err
	}
	heard, err := Visit.Call(ctx, &m.meter.Client, router.ToNode(id), m.Self().String())
	if err != nil {
		return "", fmt.Errorf("it said %q, and could not call back: %w", said, err)
	}
	return fmt.Sprintf("it said %q, and heard %q", said, heard), nil
}

// A view is what the page shows.
type view struct {
	ID     string
	Heap   uint64 // bytes
	Ended  int    // connections that did not outlive what broke them
	Others []other
}

// An other is another node, as the page shows it.
type other struct {
	ID, Short string
	Via       string // the transport of a connection to it; "": there is none
	Renewals  uint64
	Mine      Tally   // as counted here
	Theirs    Tally   // as counted at the other end
	Took      float64 // milliseconds, to ask it
}

// show tells the page what the node knows, until ctx ends.
func (m *member) show(ctx context.Context) {
	for t := time.NewTicker(250 * time.Millisecond); ; {
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		text, _ := json.Marshal(m.view(ctx)) // a view has nothing that JSON has not
		js.Global().Call("show", string(text))
	}
}

func (m *member) view(ctx context.Context) view {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	v := view{ID: m.Self().String(), Heap: memory.HeapAlloc}
	tallies, ended, _ := m.meter.Tallies(ctx)
	v.Ended = ended
	peers, _ := m.discovery.Peers(ctx)
	conns := m.State().Conns
	for _, p := range peers {
		o := other{ID: p.ID.String(), Short: p.ID.Short(), Mine: tallies[p.ID]}
		if i := slices.IndexFunc(conns, func(c network.ConnState) bool { return c.Node == p.ID }); i >= 0 {
			c := conns[i]
			o.Via, o.Renewals = c.Remote.Scheme, c.Renewals
			began := time.Now()
			o.Theirs, _ = Report.Within(time.Second).Call(ctx, &m.meter.Client, router.ToConn(c.ID), struct{}{})
			o.Took = time.Since(began).Seconds() * 1000
		}
		v.Others = append(v.Others, o)
	}
	return v
}
