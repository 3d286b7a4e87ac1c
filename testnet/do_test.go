package testnet_test

import (
	"errors"
	"testing"
	"time"

	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/testnet"
)

// Who calls by way of a node that crashes learns of it, and goes on.
func TestDoWithANodeThatCrashes(t *testing.T) {
	pingers := make([]*pinger, 2)
	s := testnet.Simulate(t, 1, testnet.Scenario{Topology: testnet.Line, Register: func(n *testnet.Node) error {
		pingers[n.Index] = newPinger()
		return n.Register(70, pingers[n.Index])
	}})
	call := func() error {
		_, err := echo.Call(s.Context(), &pingers[0].Client, router.ToNode(s.Node(1).Self()).At(70), "hello")
		return err
	}
	if err := s.Do(call); err != nil {
		t.Errorf("with both nodes up: %v", err)
	}
	s.Crash(1)
	s.Go(func() {
		s.Sleep(time.Second)
		s.Crash(0)
	})
	began := s.Now()
	if err := s.Do(call); !errors.Is(err, testnet.ErrCrashed) {
		t.Errorf("from a node that crashes: %v, want ErrCrashed", err)
	}
	if took := s.Now() - began; took != time.Second {
		t.Errorf("it took %v, want 1s: as long as the node was up", took)
	}
	if err := s.Restart(0); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(1); err != nil {
		t.Fatal(err)
	}
	if err := s.Until(time.Minute, "the nodes are connected", func() bool { return s.Connected(0, 1) && s.Connected(1, 0) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Do(call); err != nil {
		t.Errorf("after restarts: %v", err)
	}
}
