// Package clock takes time from the wrong place.
package clock

import (
	"time"
	clocks "time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

type B struct {
	since time.Time
	timer *time.Timer
	agent *agent.Behavior
}

func New() *B { return &B{since: time.Now(), timer: time.NewTimer(time.Hour)} }

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	_ = time.Now()             // want `^time.Now tells real time: use Now of the agent$`
	_ = time.Since(b.since)    // want `time.Since tells real time`
	_ = time.Until(b.since)    // want `time.Until tells real time`
	time.Sleep(1)              // want `time.Sleep runs on real time: use After of the agent`
	_ = time.After(1)          // want `time.After runs on real time`
	_ = time.NewTimer(1)       // want `time.NewTimer runs on real time`
	_ = time.NewTicker(1)      // want `time.NewTicker runs on real time`
	_ = time.Tick(1)           // want `time.Tick runs on real time`
	b.timer.Reset(1)           // want `time.Timer.Reset runs on real time`
	time.AfterFunc(1, func() { // want `time.AfterFunc runs on real time`
		time.Sleep(1) // in a goroutine, which has been reported
	})
	_ = clocks.Now() // want `time.Now tells real time`
	now := time.Now  // want `time.Now tells real time`
	_ = now()
}

func (b *B) OnEvent(a *agent.Behavior, from conn.Info, ev any) {
	b.since = a.Now()
	a.After(time.Second, time.Unix(1, 0).Sub(b.since).Round(time.Minute))
	b.timer.Stop()
}
