// Package deadline has contexts that end in real time.
package deadline

import (
	"context"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

type B struct{}

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	_, stop := context.WithTimeout(a.Context(), time.Second) // want `^context.WithTimeout ends in real time: use Method.Within of package rpc, or After of the agent$`
	stop()
	_, stop = context.WithDeadline(a.Context(), a.Now()) // want `context.WithDeadline ends`
	stop()
	_, stop = context.WithTimeoutCause(a.Context(), time.Second, nil) // want `context.WithTimeoutCause ends`
	stop()
	_, stop = context.WithDeadlineCause(a.Context(), a.Now(), nil) // want `context.WithDeadlineCause ends`
	stop()

	ctx, cancel := context.WithCancelCause(a.Context())
	cancel(context.Canceled)
	_ = context.WithValue(ctx, B{}, context.Cause(ctx))
}
