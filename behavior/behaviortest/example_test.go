package behaviortest_test

import (
	"testing"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behavior/behaviortest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
)

// Echo answers every message.
type Echo struct{}

// OnMessage answers.
func (Echo) OnMessage(a *agent.Behavior, m *conn.Message) {
	if err := a.Send(router.ToNode(m.From), m.Kind, m.Payload); err != nil {
		a.Log().Debug("no answer", "err", err)
	}
}

// TestEcho is all that it takes.
func TestEcho(t *testing.T) {
	behaviortest.Run(t, func() behavior.Behavior { return Echo{} })
}

// Run is called from a test.
func ExampleRun() {
	_ = func(t *testing.T) { // TestEcho
		valid := conn.Message{Kind: 1, Payload: []byte("hello")}
		behaviortest.Run(t, func() behavior.Behavior { return Echo{} }, valid)
	}
}
