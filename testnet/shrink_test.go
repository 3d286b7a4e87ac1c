package testnet

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

func TestDdmin(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int
		need []int // of 0 to n-1, to fail
		most int   // calls
	}{
		{"nothing", 100, nil, 1},
		{"no items", 0, nil, 0},
		{"one of one", 1, []int{0}, 2},
		{"one of many", 1024, []int{700}, 40},
		{"the first and the last", 128, []int{0, 127}, 120},
		{"all", 16, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 120},
		{"every third", 30, []int{0, 3, 6, 9, 12, 15, 18, 21, 24, 27}, 400},
	} {
		items, calls := make([]int, tt.n), 0
		for i := range items {
			items[i] = i
		}
		got := ddmin(items, func(part []int) bool {
			calls++
			if !slices.IsSorted(part) {
				t.Errorf("%s: asked for %v, out of order", tt.name, part)
			}
			for _, n := range tt.need {
				if !slices.Contains(part, n) {
					return false
				}
			}
			return true
		})
		if !slices.Equal(got, tt.need) {
			t.Errorf("%s: ddmin = %v, want %v", tt.name, got, tt.need)
		}
		if calls > tt.most {
			t.Errorf("%s: it took %d calls, want at most %d", tt.name, calls, tt.most)
		}
	}
}

// chance is a fault that Chaos brings under a name of its own.
func chance(name string, nodes ...int) Fault { return Fault{name: name, nodes: nodes} }

func TestUnits(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		name  string
		steps []Step
		want  string
	}{
		{"nothing", nil, "[]"},
		{"those that end alone", []Step{At(s, Restart(1)), At(s, Heal(1, 2)), At(s, Cut(1, 2))}, "[[1s: restart node1] [1s: heal node1 node2] [1s: cut node1 node2]]"},
		{"pairs", []Step{At(s, Crash(1)), At(2*s, chance("stop", 2)), At(3*s, Restart(2)), At(4*s, Restart(1))}, "[[1s: crash node1 4s: restart node1] [2s: stop node2 3s: restart node2]]"},
		{"the next one", []Step{At(s, Crash(1)), At(3*s, Restart(1)), At(2*s, Crash(1)), At(4*s, Restart(1))}, "[[1s: crash node1 3s: restart node1] [2s: crash node1 4s: restart node1]]"},
		{"not before", []Step{At(3*s, Partition(1, 2)), At(2*s, Heal(1, 2)), At(3*s, Heal(2, 1))}, "[[3s: partition node1 node2] [2s: heal node1 node2] [3s: heal node2 node1]]"},
		{"groups", []Step{At(s, OneWay(1, 2)), At(s, Split(1, 2)), At(2*s, Heal(1, 2)), At(2*s, Rejoin(1, 2))}, "[[1s: one-way partition node1 node2 2s: heal node1 node2] [1s: split off node1 node2 2s: rejoin node1 node2]]"},
	} {
		if got := fmt.Sprint(units(tt.steps)); got != tt.want {
			t.Errorf("%s: units = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestWithout(t *testing.T) {
	steps := []Step{At(0, Crash(1)), At(0, Crash(3)), At(0, Cut(1, 3)), At(0, Cut(0, 2)), At(0, Split(2, 3)), At(0, Rejoin(2, 3)), At(0, Split(3)), At(0, Split(0, 1, 2, 3))}
	want := "[0s: crash node1 0s: cut node0 node2 0s: split off node2 0s: rejoin node2]"
	if got := fmt.Sprint(without(steps, 3)); got != want {
		t.Errorf("without = %s, want %s", got, want)
	}
	if got := without(steps, 4); len(got) != len(steps) {
		t.Errorf("of 4 nodes all are there, and %v is left", got)
	}
}

type quiet struct{}

func (quiet) OnMessage(*agent.Behavior, *conn.Message) {}

// forgetful is a scenario that does not hold at its end, if a node was down,
// and at once if two nodes were.
func forgetful() Scenario {
	var starts map[int]int
	down := func(s *Sim, most int) error {
		found := 0
		for i := range s.nodes {
			if starts[i] > 1 || !s.Up(i) {
				found++
			}
		}
		if found > most {
			return errors.New("something is forgotten")
		}
		return nil
	}
	return Scenario{Nodes: 16, Topology: Ring,
		Register: func(n *Node) error {
			if n.Index == 0 && n.addr.IsZero() {
				starts = make(map[int]int)
			}
			starts[n.Index]++
			return n.Register(70, quiet{})
		},
		Faults:     Chaos{Crash: 0.3, Partition: 0.3, Cut: 0.5, Split: 1},
		Eventually: []Invariant{Holds("all is remembered", func(s *Sim) error { return down(s, 0) })},
	}
}

// shrunk shrinks the first run that fails.
func shrunk(t *testing.T, sc Scenario) *shrinker {
	t.Helper()
	for seed := uint64(1); seed < 20; seed++ {
		var p plan
		r, err := run(seed, sc, &p, nil)
		var f *Failure
		if errors.As(err, &f) {
			if h := shrink(sc, p, outcome{r, f}); h != nil {
				return h
			}
			t.Fatalf("seed %d is not reproducible", seed)
		}
	}
	t.Fatal("no run fails")
	return nil
}

// What fails at the end keeps its time, and faults are ended there.
func TestShrinkWhatFailsAtTheEnd(t *testing.T) {
	h := shrunk(t, forgetful())
	if len(h.plan.steps) != 2 || h.plan.steps[0].name != "crash" || h.plan.steps[1].name != "restart" {
		t.Errorf("left are %v, want a crash and its restart", h.plan.steps)
	}
	if h.sc.For != time.Minute || h.sc.Nodes != h.plan.steps[0].nodes[0]+1 {
		t.Errorf("left are %v and %d nodes, want all of the time and no node after that of %v", h.sc.For, h.sc.Nodes, h.plan.steps)
	}
}

// What fails before needs neither the time after it nor the end of faults.
func TestShrinkWhatFailsEarly(t *testing.T) {
	sc := forgetful()
	sc.Always, sc.Eventually = sc.Eventually, nil
	h := shrunk(t, sc)
	if len(h.plan.steps) != 1 || h.plan.steps[0].name != "crash" {
		t.Errorf("left are %v, want a crash", h.plan.steps)
	}
	if over := h.run.failure.At - h.plan.formed; h.sc.For <= over-time.Second || h.sc.For > over+time.Second {
		t.Errorf("%v are left; it fails after %v", h.sc.For, over)
	}
}

func TestShrunkRunsAreReproducible(t *testing.T) {
	a, b := shrunk(t, forgetful()), shrunk(t, forgetful())
	if a.run.Result != b.run.Result || a.runs != b.runs || fmt.Sprint(a.plan.steps) != fmt.Sprint(b.plan.steps) {
		t.Errorf("shrinking twice: %+v in %d runs, then %+v in %d", a.run.Result, a.runs, b.run.Result, b.runs)
	}
	for range 3 {
		p := a.plan
		r, err := run(a.seed, a.sc, &p, func(*Event) {})
		if r != a.run.Result || err == nil || err.Error() != a.run.failure.Error() {
			t.Errorf("again: %+v, %v, want %+v, %v", r, err, a.run.Result, a.run.failure)
		}
	}
}

func TestShrinkIsBounded(t *testing.T) {
	h := shrunk(t, forgetful())
	if h.runs == 0 || h.runs > shrinkRuns {
		t.Errorf("it took %d runs, want 1 to %d", h.runs, shrinkRuns)
	}
	for _, bound := range []func(*shrinker){func(h *shrinker) { h.runs = shrinkRuns }, func(h *shrinker) { h.events = 0 }} {
		spent := *h
		bound(&spent)
		if spent.try(spent.sc, spent.plan.steps) {
			t.Error("it goes on when its bounds are reached")
		}
	}
	_, err := run(1, forgetful(), &plan{limit: 10}, nil)
	var f *Failure
	if !errors.As(err, &f) || f.At > 10*time.Second || f.like(h.first) {
		t.Errorf("a run of more than 10 events: %v, want a failure of another sort within seconds", err)
	}
}
