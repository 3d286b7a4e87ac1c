package state

import (
	"testing"

	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behavior/behaviortest"
	"github.com/plexus-net/plexus/conn"
)

func TestRules(t *testing.T) {
	var examples []conn.Message
	for _, g := range golden()[2:] {
		examples = append(examples, conn.Message{Kind: g.kind, Payload: g.payload})
	}
	behaviortest.Run(t, func() behavior.Behavior { return New(Config{Key: testKey(0), Domain: "golden"}) }, examples...)
}
