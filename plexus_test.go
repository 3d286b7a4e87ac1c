package plexus_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus"
	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Calls give up soon: while the network forms they may find no way.
var greet = rpc.NewMethod[string, string]("greet").Within(500 * time.Millisecond)

type greeter struct{ rpc.Server }

func (*greeter) OnMessage(*agent.Behavior, *conn.Message) {}

// TestBatteries starts eight nodes that know only the first, and waits until a
// call and a write have crossed the network.
func TestBatteries(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var nodes []*plexus.Node
	for i := range 8 {
		cfg := plexus.Config{Listen: []string{"quic://127.0.0.1:0"}}
		if i > 0 {
			cfg.Join = []string{nodes[0].PeerAddress().String()}
		}
		n, err := plexus.Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, n)
	}
	last := nodes[len(nodes)-1]
	g := &greeter{}
	greet.Handle(&g.Server, func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	if err := last.Register(70, g); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].State.Set(ctx, "colour", []byte("blue")); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var failure error
	for {
		known, called, replicated := true, true, true
		for _, n := range nodes {
			known = known && n.Discovery.Known() == len(nodes)-1
			v, ok := n.State.Get("colour")
			replicated = replicated && ok && string(v) == "blue"
		}
		for _, to := range []router.Route{router.ToService(70), router.ToNode(last.Self()).At(70)} {
			answer, err := greet.Call(ctx, nodes[1].RPC, to, "you")
			if err != nil {
				failure = fmt.Errorf("%v: %w", to, err)
			}
			called = called && err == nil && answer == "hello you"
		}
		if known && called && replicated {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("known %v, called %v (%v), replicated %v", known, called, failure, replicated)
		}
	}
}

// A configuration that cannot work says so before anything is started.
func TestStartRefuses(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  plexus.Config
		want string
	}{
		"a seed that is no address":   {plexus.Config{Join: []string{"here"}}, "Config.Join"},
		"a seed that nobody can dial": {plexus.Config{Join: []string{key.ID().String() + "@udp://127.0.0.1:1"}}, "no transport dials"},
		"advertising no address":      {plexus.Config{Advertise: []string{"there"}}, "Config.Advertise"},
	} {
		n, err := plexus.Start(t.Context(), c.cfg)
		if err == nil {
			_ = n.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
}
