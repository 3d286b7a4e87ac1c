package testnet_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/behavior"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/testnet"
)

// A fakeT is a test that fails without failing this one.
type fakeT struct {
	testing.TB
	fatal string
	logs  string
	dir   string
	after []func()
}

func (t *fakeT) Helper()                           {}
func (t *fakeT) ArtifactDir() string               { return t.dir }
func (t *fakeT) Failed() bool                      { return t.fatal != "" }
func (t *fakeT) Cleanup(f func())                  { t.after = append(t.after, f) }
func (t *fakeT) Logf(format string, args ...any)   { t.logs += fmt.Sprintf(format, args...) + "\n" }
func (t *fakeT) Fatal(args ...any)                 { t.fatal = fmt.Sprint(args...); runtime.Goexit() }
func (t *fakeT) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// during runs f as a test, and returns what it has failed with.
func (t *fakeT) during(f func()) string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
	for _, f := range t.after {
		f()
	}
	return t.fatal
}

// failing returns the report of a Check that fails.
func failing(t *testing.T, sc testnet.Scenario) string {
	t.Helper()
	fake := &fakeT{TB: t}
	report := fake.during(func() { testnet.Check(fake, sc) })
	if report == "" {
		t.Fatal("Check has not failed the test")
	}
	return report
}

// A greeter greets whoever connects, and should do so once only.
type greeter struct{}

func (greeter) OnMessage(*agent.Behavior, *conn.Message) {}

func (greeter) OnConnect(a *agent.Behavior, c conn.Info) behavior.Handler {
	if err := a.Send(router.ToNode(c.Node), 1, []byte("hello")); err != nil {
		a.Log().Warn("no greeting", "err", err)
	}
	return nil
}

// greeting is a scenario of greeters on a line.
func greeting(nodes int) testnet.Scenario {
	return testnet.Scenario{Nodes: nodes, Topology: testnet.Line, Link: testnet.Link{Latency: testnet.Fixed(10 * time.Millisecond)},
		Register: func(n *testnet.Node) error { return n.Register(70, greeter{}) }}
}

// stormy is a greeting in which much happens.
func stormy(nodes int) testnet.Scenario {
	sc := greeting(nodes)
	sc.Faults = testnet.Chaos{Crash: 0.5, Stop: 0.1, Cut: 0.5, Partition: 0.5, OneWay: 0.1, Split: 1, Pause: 0.5, ClockSkew: time.Second}
	return sc
}

// never is an invariant that an event breaks.
func never(name string, is func(e *testnet.Event) bool) testnet.Invariant {
	return testnet.Invariant{Name: name, Begin: func(*testnet.Sim) testnet.Watch {
		return testnet.Watch{Event: func(e *testnet.Event) error {
			if is(e) {
				return errors.New("it has happened")
			}
			return nil
		}}
	}}
}

func crashOf3(e *testnet.Event) bool {
	return e.Kind == testnet.EventFault && e.Name == "crash" && e.Node == 3
}

// greetedOnce is an invariant that greeters break when they connect again.
var greetedOnce = testnet.Invariant{Name: "nobody is greeted twice", Begin: func(*testnet.Sim) testnet.Watch {
	seen := make(map[[2]int]bool)
	return testnet.Watch{Event: func(e *testnet.Event) error {
		if e.Kind != testnet.EventCall || e.Name != "OnMessage" || e.Service != 70 {
			return nil
		}
		who := [2]int{e.Peer, e.Node}
		if seen[who] {
			return fmt.Errorf("node %d greets node %d again", e.Peer, e.Node)
		}
		seen[who] = true
		return nil
	}}
}}

func TestCheckReports(t *testing.T) {
	with := func(sc testnet.Scenario, change func(*testnet.Scenario)) testnet.Scenario { change(&sc); return sc }
	rounds := 0
	for _, tt := range []struct {
		name string
		sc   testnet.Scenario
		want []string // regular expressions; with a ! in front: not
	}{
		{"a fault", with(stormy(20), func(sc *testnet.Scenario) { sc.Always = []testnet.Invariant{never("node 3 never crashes", crashOf3)} }), []string{
			`^node 3 never crashes: it does not hold. Seed \d+, event \d+, after \S+s\n    it has happened\n`,
			`\n    4 of 20 nodes, \d+s of 1m0s, 1 of \d+ steps\n    at \S+s: crash node3\n\n`,
			`What led to it:\n +\d+\.\d{3}s  #\d+  node3  CRASH\n\n`,
			`\nTo run this seed alone, set Scenario.Seed: \d+.\nWith go test -artifacts`}},
		{"a message", with(stormy(12), func(sc *testnet.Scenario) { sc.Always = []testnet.Invariant{greetedOnce} }), []string{
			`^nobody is greeted twice: it does not hold`,
			`\n    node \d greets node \d again\n`,
			`\n    2 of 12 nodes, \d+s of 1m0s, 1 of \d+ steps\n    at \S+s: \S.* node\d.*\n\n`,
			`(?s)What led to it.*node\d -> node\d  dials .*node\d <- node\d  OnMessage service 70 kind 1, 5 B\n\n`,
			`(?s)The last callbacks and faults of nodes 0, 1, .*OnConnect service 70.*OnMessage service 70 kind 1, 5 B\n\nTo run`}},
		{"a condition", with(stormy(12), func(sc *testnet.Scenario) {
			sc.Always = []testnet.Invariant{testnet.Holds("node 1 is up", func(s *testnet.Sim) error {
				if len(s.Nodes()) > 1 && !s.Up(1) {
					return errors.New("it is down")
				}
				return nil
			})}
		}), []string{`^node 1 is up: it does not hold`, `\n    2 of 12 nodes, \d+s of 1m0s, 1 of \d+ steps\n    at \S+s: (crash|stop) node1\n`, `last callbacks and faults of all nodes`}},
		{"the end", with(stormy(12), func(sc *testnet.Scenario) {
			sc.Eventually = []testnet.Invariant{testnet.Holds("a crash leaves no trace", func(s *testnet.Sim) error {
				for _, n := range s.Nodes() {
					if n.State().Conns == nil {
						return fmt.Errorf("node %d has no connection", n.Index)
					}
				}
				return errors.New("never good enough")
			})}
		}), []string{`^a crash leaves no trace: it does not hold`, `\n    1 of 12 nodes, 1m0s of 1m0s, 0 of \d+ steps\n\n`}},
		{"an error of Drive", with(stormy(12), func(sc *testnet.Scenario) {
			sc.Drive = func(s *testnet.Sim) error { s.Sleep(30 * time.Second); return errors.New("no luck") }
		}), []string{`^Drive: it does not hold. Seed 1, `, `\n    no luck\n`, ` 1 of 12 nodes, 31s of 1m0s, 0 of \d+ steps`}},
		{"a panic of Drive", with(stormy(12), func(sc *testnet.Scenario) {
			sc.Drive = func(s *testnet.Sim) error { s.Sleep(time.Second); return indexed(s, 5) }
		}), []string{`^Drive: it does not hold. Seed 1, `, `    panic: node 5 is odd\n`, `check_test\.go`, `!debug\.Stack|testnet\.guard|sim\.`, ` 6 of 12 nodes, 2s of 1m0s, 0 of \d+ steps`}},
		{"the end of Drive's goroutine", with(greeting(2), func(sc *testnet.Scenario) {
			sc.Drive = func(*testnet.Sim) error { runtime.Goexit(); return nil }
		}), []string{`^Drive: it does not hold`, `its goroutine has ended`}},
		{"a panic of Register", with(greeting(4), func(sc *testnet.Scenario) {
			sc.Register = func(n *testnet.Node) error {
				if n.Index == 2 {
					panic("not this one")
				}
				return nil
			}
		}), []string{`^the scenario's functions return: it does not hold`, `panic: not this one`, `    3 of 4 nodes`}},
		{"a panic of an invariant", with(greeting(2), func(sc *testnet.Scenario) {
			sc.Always = []testnet.Invariant{{Name: "fragile", Begin: func(*testnet.Sim) testnet.Watch {
				return testnet.Watch{Event: func(e *testnet.Event) error { panic(fmt.Sprint("broken by ", e.Kind)) }}
			}}}
		}), []string{`^fragile: it does not hold`, `panic: broken by timer\n`, `1 of 2 nodes, 1s of 1m0s, 0 of 0 steps`}},
		{"a panic of a step", with(greeting(2), func(sc *testnet.Scenario) {
			sc.Script = []testnet.Step{testnet.At(time.Second, testnet.Cut(0, 1)), testnet.At(2*time.Second, testnet.Crash(7))}
		}), []string{`^crash node7: it does not hold`, `index out of range \[7\] with length 2`, ` 1 of 2 steps\n    at 2\.\d+s: crash node7\n`}},
		{"no network", with(greeting(2), func(sc *testnet.Scenario) {
			sc.Topology, sc.Link.Loss = testnet.Line, 1
		}), []string{`^seed 1: testnet: 5m0s have passed, and not yet: the topology has formed\nTo run this seed alone, set Scenario.Seed: 1.\n$`}},
		{"while it forms", with(greeting(2), func(sc *testnet.Scenario) {
			sc.Link.Loss = 1
			sc.Always = []testnet.Invariant{never("nobody dials", func(e *testnet.Event) bool { return e.Kind == testnet.EventDial })}
		}), []string{`^nobody dials: it does not hold. Seed 1, event \d+, after 0s\n`, ` 2 of 2 nodes, 1s of 1m0s, 0 of 0 steps`, `node0 -> node1  dials`}},
		{"two things", with(stormy(12), func(sc *testnet.Scenario) {
			sc.Always = []testnet.Invariant{never("node 3 never crashes", crashOf3), testnet.Holds("there are many", func(s *testnet.Sim) error {
				if len(s.Nodes()) < 6 {
					return errors.New("there are few")
				}
				return nil
			})}
		}), []string{`^node 3 never crashes`, ` 6 of 12 nodes, \d+s of 1m0s, 1 of`}},
		{"not from the seed", with(greeting(2), func(sc *testnet.Scenario) {
			sc.Drive = func(s *testnet.Sim) error {
				rounds++
				s.Sleep(time.Duration(rounds) * time.Second)
				s.Crash(0)
				return errors.New("no luck")
			}
		}), []string{`^Drive: it does not hold`, `\nA second run of this seed took another course`, `!smallest`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report := failing(t, tt.sc)
			for _, want := range tt.want {
				re, not := strings.CutPrefix(want, "!")
				if regexp.MustCompile(re).MatchString(report) == not {
					t.Errorf("the report has to match %q:\n%s", want, report)
				}
			}
		})
	}
}

// indexed panics for a node, and for another reason where there is no such node.
func indexed(s *testnet.Sim, i int) error {
	if s.Node(i).Index%2 == 1 {
		panic(fmt.Sprintf("node %d is odd", i))
	}
	return nil
}

func TestCheckRunsSeeds(t *testing.T) {
	for _, tt := range []struct {
		name string
		sc   testnet.Scenario
		want []uint64
	}{
		{"some", testnet.Scenario{Seeds: 3}, []uint64{1, 2, 3}},
		{"one", testnet.Scenario{Seeds: 3, Seed: 17}, []uint64{17}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []uint64
			tt.sc.Drive = func(s *testnet.Sim) error { got = append(got, s.Seed); return nil }
			tt.sc.For = time.Second
			testnet.Check(t, tt.sc)
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("Check has run seeds %v, want %v", got, tt.want)
			}
		})
	}
}

// What Drive draws is the same whatever is planned.
func TestDriveDrawsTheSame(t *testing.T) {
	var drawn []uint64
	for _, sc := range []testnet.Scenario{greeting(3), stormy(3)} {
		sc.Drive = func(s *testnet.Sim) error { drawn = append(drawn, s.Rand().Uint64()); return nil }
		if _, err := testnet.Run(1, sc, nil); err != nil {
			t.Fatal(err)
		}
	}
	if drawn[0] != drawn[1] {
		t.Errorf("Drive has drawn %x", drawn)
	}
}

// Not parallel: it sets a flag.
func TestCheckKeepsTheTrace(t *testing.T) {
	if err := flag.Set("test.artifacts", "true"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := flag.Set("test.artifacts", "false"); err != nil {
			t.Error(err)
		}
	})
	sc := stormy(12)
	sc.Always = []testnet.Invariant{greetedOnce}
	fake := &fakeT{TB: t, dir: t.TempDir()}
	report := fake.during(func() { testnet.Check(fake, sc) })
	if !strings.Contains(report, "The whole trace is in trace.txt, trace.mmd and trace.jsonl in "+fake.dir) {
		t.Errorf("the report does not name the files:\n%s", report)
	}
	for name, want := range map[string]string{"trace.txt": "OnMessage service 70", "trace.mmd": "sequenceDiagram\n", "trace.jsonl": `"kind":"timer"`} {
		text, err := os.ReadFile(filepath.Join(fake.dir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, want %q in it:\n%.500s", name, err, want, text)
		}
	}
}

func TestSimulateTellsTheSeed(t *testing.T) {
	for _, fails := range []bool{false, true} {
		fake := &fakeT{TB: t}
		fake.during(func() {
			s := testnet.Simulate(fake, 42, greeting(2))
			s.Sleep(time.Second)
			if fails {
				fake.Fatal("no luck")
			}
		})
		if told := regexp.MustCompile(`^testnet: seed 42; after 1\.\d+s and \d+ events the hash is [0-9a-f]{16}\n$`).MatchString(fake.logs); told != fails {
			t.Errorf("failed %v: log %q", fails, fake.logs)
		}
	}
}
