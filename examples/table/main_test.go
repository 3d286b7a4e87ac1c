package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/routertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRules: what holds for every table holds for ours.
func TestRules(t *testing.T) {
	routertest.Run(t, func(self identity.NodeID) router.Table { return NewRing(self) })
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"node 0 to node 1: 1 hops\n", "node 0 to node 6: 6 hops\n", // round the circle; node 7 is a neighbour
		"node 0 to node 7: 1 hops\n", "node 0 to node 6: 3 hops\n", // by the short cut
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", out.String(), want)
		}
	}
}
