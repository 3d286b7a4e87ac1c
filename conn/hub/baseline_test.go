package hub_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/hub"
	"github.com/plexus-net/plexus/conn/tcp"
	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/internal/baseline"
)

// upAndDown makes two hubs, has messages pass before and after their connection is
// cut, and closes them.
func upAndDown(t *testing.T) {
	t.Helper()
	keys := pair(t)
	cfg := hub.Config{Transports: []conn.Transport{tcp.New()}, Backoff: hub.Const(time.Millisecond), Endpoint: endpoint.Config{AckDelay: time.Millisecond}}
	cfg.Key, cfg.Listen = keys[1], []identity.Address{address(t, "tcp://127.0.0.1:0")}
	b := start(t, cfg)
	cfg.Key, cfg.Listen, cfg.Transports = keys[0], nil, []conn.Transport{tcp.New()}
	a := start(t, cfg)
	if _, err := b.Add(at(keys[0])); err != nil {
		t.Fatal(err)
	}
	e, err := a.Add(at(keys[1], b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		for range 10 {
			if err := a.Send(t.Context(), keys[1].ID(), make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			if _, _, err := b.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if round == 0 {
			e.Disconnect(errors.New("cut"))
		}
	}
	var closing sync.WaitGroup
	for _, h := range []*hub.Hub{a, b} {
		closing.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = h.Close(ctx) // they need not know what was taken last
		})
	}
	closing.Wait()
}

// A hundred times up, cut and down: nothing is left of it, neither of the hubs nor
// of their endpoints.
func TestNothingIsLeftAfterAHundredCycles(t *testing.T) {
	baseline.Restored(t, func() { upAndDown(t) })
}
