package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/network"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/rpc"
	"github.com/plexus-net/plexus/testnet"
)

// An errand is a scenario for both worlds, with what comes of it.
type errand struct {
	pingers [4]*pinger
	order   string // of steps that have happened, as Drive sees them
	drawn   string // from the seed
	answers int    // of the calls at the end
	asked   int    // of those before
	looks   int    // of the invariant
}

// call has one node call another.
func (e *errand) call(s *testnet.Sim, from, to int, within time.Duration) error {
	return s.Do(func() error {
		_, err := echo.Within(within).Call(s.Context(), &e.pingers[from].Client, router.ToNode(s.Node(to).Self()).At(70), "hello")
		return err
	})
}

// register puts a pinger and a diary on a node.
func (e *errand) register(n *testnet.Node) error {
	e.pingers[n.Index] = newPinger()
	return errors.Join(n.Register(70, e.pingers[n.Index]), n.Register(71, &diary{disk: n.Disk}))
}

// drive calls about while things happen, and everybody when they are over.
func (e *errand) drive(s *testnet.Sim) error {
	e.drawn = fmt.Sprint(s.Rand().Uint64(), s.Node(3).Key.ID())
	s.Go(func() {
		for s.Up(2) {
			s.Sleep(10 * time.Millisecond)
		}
		e.order += "down "
	})
	for s.Now() < 1800*time.Millisecond {
		from, to := s.Rand().IntN(4), s.Rand().IntN(4)
		if from != to && s.Up(from) {
			_ = e.call(s, from, to, 300*time.Millisecond) // may fail
			e.asked++
		}
		s.Sleep(20 * time.Millisecond)
	}
	if s.Up(2) {
		e.order += "up "
	}
	if err := s.Stop(3); err != nil || s.Up(3) {
		return fmt.Errorf("stop: %w, and up is %v", err, s.Up(3))
	}
	if err := s.Restart(3); err != nil {
		return err
	}
	if s.Restart(3) == nil {
		return errors.New("a node that runs was started")
	}
	if err := s.Until(10*time.Second, "all are connected", func() bool { return meshed(s) }); err != nil {
		return err
	}
	for from := range 4 {
		for to := range 4 {
			if from == to {
				continue
			}
			if err := e.call(s, from, to, 5*time.Second); err != nil {
				return fmt.Errorf("node %d calls node %d: %w", from, to, err)
			}
			e.answers++
		}
	}
	return nil
}

func meshed(s *testnet.Sim) bool {
	for a := range s.Nodes() {
		for b := range s.Nodes() {
			if a != b && !s.Connected(a, b) {
				return false
			}
		}
	}
	return true
}

// scenario is a mesh to which everything happens that can be made real.
func (e *errand) scenario() testnet.Scenario {
	const ms = time.Millisecond
	return testnet.Scenario{
		Nodes: 4, Topology: testnet.Mesh, Register: e.register, Drive: e.drive, For: 2 * time.Second,
		Limits: network.Limits{DialBackoff: 50 * ms, DialBackoffMax: 100 * ms},
		Script: []testnet.Step{
			testnet.At(200*ms, testnet.Partition(0, 1)), testnet.At(500*ms, testnet.Heal(0, 1)),
			testnet.At(600*ms, testnet.Crash(2)), testnet.At(900*ms, testnet.Restart(2)),
			testnet.At(1000*ms, testnet.Cut(1, 3)),
			testnet.At(1100*ms, testnet.Split(0, 1)), testnet.At(1300*ms, testnet.Rejoin(0, 1)),
			testnet.At(1400*ms, testnet.FillDisk(1)), testnet.At(1400*ms, testnet.FreeDisk(1)),
		},
		Always: []testnet.Invariant{testnet.NoPanics(), testnet.Bounded(0, 0), testnet.LoopFree(), testnet.Holds("it looks", func(*testnet.Sim) error {
			if e.looks++; e.asked < 0 {
				return errors.New("calls are taken back")
			}
			return nil
		})},
		Eventually: []testnet.Invariant{testnet.Reachable(), testnet.OneOwner(), testnet.Holds("starts are on disks", func(s *testnet.Sim) error {
			for i, want := range []string{"1", "1", "2", "2"} {
				if got, err := s.Node(i).Disk.Read("starts"); err != nil || string(got) != want {
					return fmt.Errorf("node %d has started %s times, %w; want %s", i, got, err, want)
				}
			}
			return nil
		})},
	}
}

func TestLiveIsAsSimulated(t *testing.T) {
	outcome := func(e *errand, err error) string {
		return fmt.Sprintf("error %v, node 2 %s, %d answers, drawn %s", err, e.order, e.answers, e.drawn)
	}
	simulated := &errand{}
	_, err := testnet.Run(7, simulated.scenario(), nil)
	want := outcome(simulated, err)
	if good := "error <nil>, node 2 down up , 12 answers"; !strings.HasPrefix(want, good) {
		t.Fatalf("simulated: %s, want %s", want, good)
	}
	for _, transport := range []string{"mem", "tcp", "quic"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			e := &errand{}
			r, err := testnet.Live(t.Context(), transport, 7, e.scenario())
			if got := outcome(e, err); got != want {
				t.Errorf("over %s: %s, simulated: %s; want the same", transport, got, want)
			}
			if e.looks < 1 || e.asked < 10 || r.Seed != 7 || r.Events == 0 || r.Hash != 0 || r.Took < 2*time.Second {
				t.Errorf("%d looks, %d calls, %+v", e.looks, e.asked, r)
			}
		})
	}
}

func TestLiveRefusesWhatCannotBeReal(t *testing.T) {
	everything := testnet.Scenario{
		Link:   testnet.Link{Latency: testnet.Fixed(time.Second), Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, Rate: 1e6, Queue: 1000},
		Links:  func(int, int) testnet.Link { return testnet.Link{} },
		Faults: testnet.Chaos{Crash: 1, Pause: 1, OneWay: 1, Slow: 1, ClockSkew: 1, ClockDrift: 1},
		Script: []testnet.Step{testnet.At(time.Second, testnet.Crash(0)), testnet.At(1, testnet.OneWay(0, 1)), testnet.At(2, testnet.Pause(0, time.Second)),
			testnet.At(3, testnet.Slow(1, time.Millisecond)), testnet.At(4, testnet.Clock(1, time.Hour, 0))},
		Always: []testnet.Invariant{testnet.Paired(), testnet.NoPanics(), testnet.NewTraffic(testnet.TrafficConfig{}).Answered()},
		Eventually: []testnet.Invariant{testnet.NoLeaks(), testnet.Reachable(),
			{Name: "fragile", Begin: func(s *testnet.Sim) testnet.Watch { _ = s.Node(0); return testnet.Watch{} }}},
		Register: func(*testnet.Node) error { panic("it begins") },
	}
	for _, tt := range []struct {
		name      string
		transport string
		sc        testnet.Scenario
		want      string
	}{
		{"everything", "mem", everything, `testnet: only a simulation has: Link.Latency; Link.Loss; Link.Duplicate; Link.Reorder; Link.Rate; Link.Queue; Links; ` +
			`Faults.Pause; Faults.OneWay; Faults.Slow; Faults.ClockSkew; Faults.ClockDrift; the step "1ns: one-way partition node0 node1"; the step "2ns: pause for 1s node0"; ` +
			`the step "3ns: slow by 1ms node1"; the step "4ns: clock ahead by 1h0m0s, drifting by 0 node1"; ` +
			`the invariant "connects and disconnects are paired", which watches events; the invariant "calls end once", which watches events; the invariant "no connection leaks", which watches events`},
		{"transport", "pigeon", testnet.Scenario{}, `testnet: transport is "pigeon", want mem, tcp or quic`},
		{"too many", "mem", testnet.Scenario{Nodes: 5000}, `testnet: Scenario.Nodes is 5000, want 1 to 4096 in real time`},
		{"no scenario", "mem", testnet.Scenario{Nodes: -1}, `testnet: Scenario.Nodes is -1, want 1 to 20000`},
		{"traffic", "mem", testnet.Scenario{Register: func(n *testnet.Node) error {
			return testnet.NewTraffic(testnet.TrafficConfig{}).Register(n, 71)
		}}, `testnet: node 0: testnet: Traffic is for simulations`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := testnet.Live(t.Context(), tt.transport, 1, tt.sc); err == nil || err.Error() != tt.want {
				t.Errorf("got %v\nwant %v", err, tt.want)
			}
		})
	}
}

func TestLiveEndsWithItsContext(t *testing.T) {
	cause := errors.New("enough")
	for _, tt := range []struct {
		name  string
		drive func(s *testnet.Sim, waits chan<- bool) error
	}{
		{"in a sleep", func(s *testnet.Sim, waits chan<- bool) error {
			close(waits)
			s.Sleep(time.Hour)
			return errors.New("it goes on")
		}},
		{"in a call", func(s *testnet.Sim, waits chan<- bool) error {
			s.Partition(0, 1)
			s.Go(func() { s.Sleep(time.Hour) })
			close(waits)
			for s.Context().Err() == nil {
				_, _ = s.Node(0).Connect(s.Context(), s.Node(1).Address()) // in vain
			}
			s.Sleep(0)
			return errors.New("it goes on")
		}},
	} {
		for _, transport := range []string{"mem", "quic"} {
			t.Run(tt.name+" over "+transport, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancelCause(t.Context())
				waits := make(chan bool)
				var began time.Time
				go func() {
					<-waits
					began = time.Now()
					cancel(cause)
				}()
				_, err := testnet.Live(ctx, transport, 1, testnet.Scenario{Nodes: 3, Topology: testnet.Line, Script: []testnet.Step{testnet.At(time.Minute, testnet.Crash(0))},
					Drive: func(s *testnet.Sim) error { return tt.drive(s, waits) }})
				if f := (*testnet.Failure)(nil); !errors.Is(err, cause) || errors.As(err, &f) {
					t.Errorf("got %v, want the cause", err)
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it ended after %v", took)
				}
			})
		}
	}
}

func TestLiveFails(t *testing.T) {
	bad := errors.New("no luck")
	for _, tt := range []struct {
		name   string
		change func(sc *testnet.Scenario)
		want   string // of Failure.Invariant
	}{
		{"always", func(sc *testnet.Scenario) {
			sc.Always = []testnet.Invariant{testnet.Holds("node 1 is up", func(s *testnet.Sim) error {
				if !s.Up(1) {
					return bad
				}
				return nil
			})}
			sc.Script = []testnet.Step{testnet.At(100*time.Millisecond, testnet.CrashAndWipe(1))}
		}, "node 1 is up"},
		{"eventually", func(sc *testnet.Scenario) {
			sc.For = 100 * time.Millisecond
			sc.Eventually = []testnet.Invariant{testnet.Holds("never", func(*testnet.Sim) error { return bad })}
		}, "never"},
		{"drive", func(sc *testnet.Scenario) {
			sc.Drive = func(*testnet.Sim) error { return bad }
		}, "Drive"},
		{"a panic", func(sc *testnet.Scenario) {
			sc.Register = func(*testnet.Node) error { panic(bad) }
		}, "the scenario's functions return"},
		{"a step", func(sc *testnet.Scenario) {
			sc.Script = []testnet.Step{testnet.At(0, testnet.Crash(7))}
		}, "crash node7"},
		{"what cannot be", func(sc *testnet.Scenario) {
			sc.Drive = func(s *testnet.Sim) error { s.Inflict(testnet.Pause(0, time.Second)); return nil }
		}, "pause for 1s node0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sc := testnet.Scenario{Nodes: 3, Topology: testnet.Line}
			tt.change(&sc)
			_, err := testnet.Live(t.Context(), "mem", 5, sc)
			if f := (*testnet.Failure)(nil); !errors.As(err, &f) || f.Invariant != tt.want || f.Seed != 5 {
				t.Errorf("got %v, want a Failure of %q", err, tt.want)
			}
		})
	}
}

// Whatever chance does, nobody waits for ever, and all nodes are up at the end.
func TestLiveChaos(t *testing.T) {
	var p *pinger
	_, err := testnet.Live(t.Context(), "mem", 3, testnet.Scenario{Nodes: 5, Topology: testnet.SmallWorld(4), For: 1500 * time.Millisecond,
		Limits: network.Limits{DialBackoff: 20 * time.Millisecond, DialBackoffMax: 50 * time.Millisecond},
		Faults: testnet.Chaos{Crash: 30, Stop: 30, Cut: 60, Partition: 60, Split: 60, FullDisk: 30, Down: 200 * time.Millisecond},
		Register: func(n *testnet.Node) error {
			if n.Index == 0 {
				p = newPinger()
				return n.Register(70, p)
			}
			return n.Register(70, newPinger())
		},
		Eventually: []testnet.Invariant{testnet.NoPanics(), testnet.Holds("all are up", func(s *testnet.Sim) error {
			for i := range s.Nodes() {
				if !s.Up(i) {
					return fmt.Errorf("node %d is down", i)
				}
			}
			return nil
		})},
		Drive: func(s *testnet.Sim) error {
			for s.Now() < time.Second {
				if s.Up(0) {
					_ = s.Do(func() error {
						_, err := echo.Within(50*time.Millisecond).Call(s.Context(), &p.Client, router.ToNode(s.Node(1+s.Rand().IntN(4)).Self()).At(70), "hello")
						return err
					})
				}
				s.Sleep(time.Millisecond)
			}
			return nil
		}})
	if err != nil {
		t.Error(err)
	}
}

// silence is answered when whoever asks has gone.
var silence = rpc.NewMethod[string, string]("silence")

// Others have their turn while a call waits, and who waits for a node that
// crashes learns of it. With the race detector this shows too that what the
// functions of a scenario share needs no lock.
func TestLiveTakesTurns(t *testing.T) {
	pingers := make([]*pinger, 2)
	down, restarts := false, 0
	drive := func(s *testnet.Sim) error {
		s.Go(func() {
			s.Sleep(50 * time.Millisecond)
			s.Crash(0)
			down = true
		})
		began := s.Now()
		call := func() error {
			_, err := silence.Call(s.Context(), &pingers[0].Client, router.ToNode(s.Node(1).Self()).At(70), "hello")
			return err
		}
		if err := s.Do(call); !errors.Is(err, testnet.ErrCrashed) {
			return fmt.Errorf("a call from a node that crashes: %w, want ErrCrashed", err)
		}
		if took := s.Now() - began; took > 2*time.Second {
			return fmt.Errorf("it has waited for %v", took)
		}
		if err := s.Until(2*time.Second, "the crash is over", func() bool { return down }); err != nil {
			return err
		}
		if err := s.Do(call); !errors.Is(err, testnet.ErrCrashed) {
			return fmt.Errorf("a call from a node that has crashed: %w, want ErrCrashed", err)
		}
		for range 2 { // one of them is too late
			s.Go(func() {
				if s.Restart(0) == nil {
					restarts++
				}
			})
		}
		return s.Until(2*time.Second, "all are connected", func() bool { return restarts > 0 && s.Connected(0, 1) && s.Connected(1, 0) })
	}
	_, err := testnet.Live(t.Context(), "mem", 1, testnet.Scenario{For: time.Millisecond, Topology: testnet.Line, Drive: drive,
		Register: func(n *testnet.Node) error {
			p := newPinger()
			silence.Handle(&p.Server, func(ctx context.Context, _ string) (string, error) { <-ctx.Done(); return "", ctx.Err() })
			pingers[n.Index] = p
			return n.Register(70, p)
		}})
	if err != nil || restarts != 1 {
		t.Errorf("%v, and %d restarts, want 1", err, restarts)
	}
}

// A network of which a node does not register ends all the same.
func TestStartWithoutANode(t *testing.T) {
	bad := errors.New("no luck")
	_, err := testnet.Start(t.Context(), testnet.Options{Register: func(n *testnet.Node) error {
		if n.Index == 1 {
			return bad
		}
		return nil
	}})
	if !errors.Is(err, bad) {
		t.Errorf("got %v, want %v", err, bad)
	}
}

// The scenario of a simulation runs over QUIC as well, with what can be made
// real of it.
func ExampleLive() {
	sc := testnet.Scenario{
		Nodes: 3, Topology: testnet.Line, For: 500 * time.Millisecond,
		Register: func(n *testnet.Node) error { return n.Register(70, newPinger()) },
		Script:   []testnet.Step{testnet.At(100*time.Millisecond, testnet.Partition(0, 1)), testnet.At(200*time.Millisecond, testnet.Heal(0, 1))},
		Always:   []testnet.Invariant{testnet.LoopFree()},
		Drive: func(s *testnet.Sim) error {
			s.Sleep(300 * time.Millisecond)
			return s.Until(time.Minute, "they have made up", func() bool { return s.Connected(0, 1) })
		},
	}
	if _, err := testnet.Run(1, sc, nil); err != nil {
		fmt.Println("simulated:", err)
	}
	if _, err := testnet.Live(context.Background(), "quic", 1, sc); err != nil {
		fmt.Println("over QUIC:", err)
	}
	sc.Link.Loss = 0.01
	_, err := testnet.Live(context.Background(), "quic", 1, sc)
	fmt.Println(err)
	// Output: testnet: only a simulation has: Link.Loss
}
