package rpc_test

import (
	"testing"
	"time"

	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/behavior/behaviortest"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/rpc"
)

func TestConformance(t *testing.T) {
	request := conn.Message{Kind: rpc.KindRequest, Payload: append(rpc.AppendRequest(nil, 1, time.Second, "echo inline"), "hello"...)}
	answer := conn.Message{Kind: rpc.KindAnswer, Payload: rpc.AppendAnswer(nil, 1, 0)}
	t.Run("client", func(t *testing.T) {
		behaviortest.Run(t, func() behavior.Behavior { return rpc.NewClient() }, request, answer)
	})
	t.Run("server", func(t *testing.T) {
		behaviortest.Run(t, func() behavior.Behavior { return NewCalc() }, request, answer)
	})
}
