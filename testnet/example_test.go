package testnet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/testnet"
)

// A Leader says every second that it leads. One that does not lead, and has not
// heard anybody say so for 5 seconds, takes over.
type Leader struct {
	leads bool
	heard time.Time
}

func (l *Leader) Describe() behavior.Info { return behavior.Info{Tick: time.Second} }

func (l *Leader) OnMessage(a *agent.Behavior, _ *conn.Message) { l.heard = a.Now() }

func (l *Leader) OnTick(a *agent.Behavior, now time.Time) {
	if l.heard.IsZero() {
		l.heard = now
	}
	if l.leads = l.leads || now.Sub(l.heard) > 5*time.Second; l.leads {
		a.Broadcast(1, nil)
	}
}

// Two nodes lead as soon as the first one pauses for too long. Check finds a
// seed with which that happens, and leaves out of the scenario what does not
// matter.
func ExampleCheck() {
	leaders := make([]*Leader, 10)
	oneLeads := testnet.Holds("no two nodes lead", func(s *testnet.Sim) error {
		var lead []int
		for i := range s.Nodes() {
			if leaders[i].leads {
				lead = append(lead, i)
			}
		}
		if len(lead) > 1 {
			return fmt.Errorf("nodes %v lead", lead)
		}
		return nil
	})
	var t testing.TB = printer{} // in a test: what it is given
	testnet.Check(t, testnet.Scenario{
		Nodes: len(leaders), Topology: testnet.Mesh,
		Register: func(n *testnet.Node) error {
			leaders[n.Index] = &Leader{leads: n.Index == 0}
			return n.Register(70, leaders[n.Index])
		},
		Seed:   1, // as the report of a failure says; without it, many are tried
		Faults: testnet.Chaos{Pause: 0.5, Cut: 0.5},
		Always: []testnet.Invariant{oneLeads},
	})

	// Output:
	// no two nodes lead: it does not hold.
	// 2 of 10 nodes, 21s of 1m0s, 1 of 8 steps
	// pause for 19.695225122s node0
}

// A printer prints the first words of what a test fails with, and what is left
// of its scenario. The whole report shows what led to the failure, too.
type printer struct{ testing.TB }

func (printer) Helper() {}

func (printer) Fatal(report ...any) {
	for line := range strings.Lines(fmt.Sprint(report...)) {
		name, _, first := strings.Cut(line, " Seed ")
		_, step, isStep := strings.Cut(line, "s: pause")
		switch {
		case first:
			fmt.Println(name)
		case strings.HasSuffix(line, " steps\n"):
			fmt.Println(strings.TrimSpace(line))
		case isStep:
			fmt.Print("pause", step)
		}
	}
}
