package testnet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const (
	ms      = time.Millisecond
	longest = time.Duration(math.MaxInt64)
)

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// draws returns the mean and the deviation of many draws, in milliseconds, and
// the share that is at most limit.
func draws(d Distribution, limit time.Duration) (mean, deviation, share float64) {
	const n = 200_000
	r := testRand()
	var sum, squares, below float64
	for range n {
		x := d.Draw(r)
		v := float64(x) / float64(ms)
		sum += v
		squares += v * v
		if x <= limit {
			below++
		}
	}
	mean = sum / n
	return mean, math.Sqrt(max(0, squares/n-mean*mean)), below / n
}

func TestDistributions(t *testing.T) {
	for _, c := range []struct {
		d               Distribution
		mean, deviation float64 // ms
		limit           time.Duration
		share           float64 // of the draws that are at most limit
	}{
		{Fixed(20 * ms), 20, 0, 20*ms - 1, 0},
		{Uniform(10*ms, 30*ms), 20, 20 / math.Sqrt(12), 15 * ms, 0.25},
		{Uniform(7*ms, 7*ms), 7, 0, 7 * ms, 1},
		{Normal(50*ms, 5*ms), 50, 5, 55 * ms, 0.8413},
		{Normal(10*ms, 0), 10, 0, 10 * ms, 1},
		// Truncated at two deviations, and at none.
		{Normal(10*ms, 5*ms), 10 + 5*0.0552, 5 * 0.9416, 10 * ms, 0.4887},
		{Normal(0, 10*ms), 10 * math.Sqrt(2/math.Pi), 10 * math.Sqrt(1-2/math.Pi), 10 * ms, 0.6827},
		{LogNormal(20*ms, 0.5), 20 * math.Exp(0.125), 20 * math.Exp(0.125) * math.Sqrt(math.Exp(0.25)-1), 20 * ms, 0.5},
		{LogNormal(20*ms, 1), 20 * math.Exp(0.5), 20 * math.Exp(0.5) * math.Sqrt(math.E-1), 100 * ms, 0.9462},
		{LogNormal(20*ms, 0), 20, 0, 20 * ms, 1},
		{Sum(Fixed(10*ms), Uniform(0, 6*ms)), 13, 6 / math.Sqrt(12), 16 * ms, 1},
		// Drawn one after the other, not the same draw twice.
		{Sum(Normal(50*ms, 3*ms), Normal(50*ms, 4*ms)), 100, 5, 105 * ms, 0.8413},
	} {
		t.Run(fmt.Sprint(c.d), func(t *testing.T) {
			mean, deviation, share := draws(c.d, c.limit)
			if math.Abs(mean-c.mean) > 0.01*c.mean {
				t.Errorf("the mean is %.3f ms, want %.3f", mean, c.mean)
			}
			if math.Abs(deviation-c.deviation) > 0.03*c.deviation+1e-3 {
				t.Errorf("the deviation is %.3f ms, want %.3f", deviation, c.deviation)
			}
			if math.Abs(share-c.share) > 0.01 {
				t.Errorf("%.3f of the draws are at most %v, want %.3f", share, c.limit, c.share)
			}
		})
	}
}

func TestDrawsAreTheSameFromOneSeed(t *testing.T) {
	for _, d := range []Distribution{Uniform(0, time.Hour), Normal(ms, ms), LogNormal(ms, 1), Sum(Uniform(0, ms), Normal(ms, ms))} {
		a, b := testRand(), testRand()
		seen := make(map[time.Duration]bool)
		for range 100 {
			x, y := d.Draw(a), d.Draw(b)
			if x != y {
				t.Fatalf("%v drew %v and %v from one seed", d, x, y)
			}
			seen[x] = true
		}
		if len(seen) < 99 {
			t.Errorf("%v drew only %d durations in 100 draws", d, len(seen))
		}
	}
}

// TestUniformReachesItsBounds also reaches no further.
func TestUniformReachesItsBounds(t *testing.T) {
	r, seen := testRand(), make(map[time.Duration]int)
	for range 3000 {
		seen[Uniform(5, 7).Draw(r)]++
	}
	if len(seen) != 3 || seen[5] < 900 || seen[6] < 900 || seen[7] < 900 {
		t.Errorf("Latency Uniform(5ns, 7ns) drew %v, want each about 1000 times", seen)
	}
}

// A wild draws what a Sum must not pass on.
type wild time.Duration

func (w wild) Draw(*rand.Rand) time.Duration { return time.Duration(w) }

func TestDrawsAreBounded(t *testing.T) {
	huge := []time.Duration{math.MinInt64, -1, 0, 1, maxDraw, maxDraw + 1, longest}
	var all []Distribution
	for _, a := range huge {
		all = append(all, Fixed(a))
		for _, b := range huge {
			all = append(all, Uniform(a, b), Normal(a, b), Sum(Fixed(a), Fixed(b)), Sum(wild(a), wild(b)))
		}
		for _, s := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, 1e-300, 3, 1e300} {
			all = append(all, LogNormal(a, s))
		}
	}
	r := testRand()
	for _, d := range all {
		for range 200 {
			if x := d.Draw(r); x < 0 || x > maxDraw {
				t.Fatalf("%v drew %v, want 0 to %v", d, x, maxDraw)
			}
		}
	}
	for _, c := range []struct {
		d    Distribution
		want time.Duration
	}{
		{Fixed(longest), maxDraw}, {Fixed(-1), 0}, {Sum(Fixed(longest), Fixed(longest)), maxDraw},
		{Sum(wild(-5), Fixed(3)), 3}, {Uniform(9, 5), 9}, {LogNormal(longest, 0), maxDraw}, {LogNormal(1, math.NaN()), 0},
	} {
		if got := c.d.Draw(r); got != c.want {
			t.Errorf("%v drew %v, want %v", c.d, got, c.want)
		}
	}
}

func TestLinkIsChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		link Link
		want string // the error begins with it; "" is no error
	}{
		{"zero", Link{}, ""},
		{"everything", Link{Latency: Sum(Fixed(ms), LogNormal(ms, 1)), Loss: 1, Duplicate: 0.5, Reorder: 1, Rate: 1e6, Queue: 1}, ""},
		{"somebody's distribution", Link{Latency: wild(-1)}, ""},
		{"largest", Link{Latency: Fixed(maxDraw), Rate: math.MaxFloat64, Queue: 1 << 30}, ""},
		{"smallest", Link{Latency: Uniform(0, 0), Rate: 1, Queue: 1}, ""},
		{"loss below", Link{Loss: -0.1}, "Loss is -0.1, want a probability from 0 to 1"},
		{"loss in percent", Link{Loss: 5}, "Loss is 5,"},
		{"loss NaN", Link{Loss: math.NaN()}, "Loss is NaN"},
		{"duplicate", Link{Duplicate: 1.01}, "Duplicate is 1.01"},
		{"reorder", Link{Reorder: math.Inf(1)}, "Reorder is +Inf"},
		{"rate below", Link{Rate: -1}, "Rate is -1, want 1 bit/s or more, or 0"},
		{"rate tiny", Link{Rate: 0.5}, "Rate is 0.5"},
		{"rate infinite", Link{Rate: math.Inf(1)}, "Rate is +Inf"},
		{"rate NaN", Link{Rate: math.NaN()}, "Rate is NaN"},
		{"queue below", Link{Queue: -1}, "Queue is -1, want 1 to 1073741824 bytes, or 0 for 262144"},
		{"queue above", Link{Queue: 1<<30 + 1}, "Queue is 1073741825"},
		{"fixed", Link{Latency: Fixed(-ms)}, "Latency Fixed(-1ms): the duration is -1ms, want 0 to 8760h0m0s"},
		{"fixed above", Link{Latency: Fixed(longest)}, "Latency Fixed(2562047h47m16.854775807s): the duration is 2562047h"},
		{"uniform", Link{Latency: Uniform(-ms, ms)}, "Latency Uniform(-1ms, 1ms): least is -1ms"},
		{"uniform upside down", Link{Latency: Uniform(5*ms, ms)}, "Latency Uniform(5ms, 1ms): most is 1ms, want least, 5ms, or more"},
		{"uniform above", Link{Latency: Uniform(0, longest)}, "Latency Uniform(0s, 2562047h47m16.854775807s): most is 2562047h"},
		{"normal mean", Link{Latency: Normal(-ms, 0)}, "Latency Normal(-1ms, 0s): mean is -1ms"},
		{"normal deviation", Link{Latency: Normal(0, -ms)}, "Latency Normal(0s, -1ms): deviation is -1ms"},
		{"log-normal median", Link{Latency: LogNormal(-ms, 1)}, "Latency LogNormal(-1ms, 1): median is -1ms"},
		{"log-normal sigma", Link{Latency: LogNormal(ms, 20)}, "Latency LogNormal(1ms, 20): sigma is 20, want 0 to 3"},
		{"log-normal sigma below", Link{Latency: LogNormal(ms, -1)}, "Latency LogNormal(1ms, -1): sigma is -1"},
		{"log-normal sigma NaN", Link{Latency: LogNormal(ms, math.NaN())}, "Latency LogNormal(1ms, NaN): sigma is NaN"},
		{"sum base", Link{Latency: Sum(Fixed(-1), Fixed(1))}, "Latency Sum(Fixed(-1ns), Fixed(1ns)): Fixed(-1ns): the duration is -1ns"},
		{"sum jitter", Link{Latency: Sum(Fixed(1), nil)}, "Latency Sum(Fixed(1ns), <nil>): a distribution is nil"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.link.Check()
			if c.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("got error %v, want one that begins with %q", err, c.want)
			}
		})
	}
}

func TestLinkDrawsItsLatency(t *testing.T) {
	for _, c := range []struct {
		name string
		d    Distribution
		want time.Duration
	}{
		{"default", nil, ms}, {"of this package", Fixed(3 * ms), 3 * ms}, {"somebody's", wild(ms), ms},
		{"somebody's, below zero", wild(-ms), 0}, {"somebody's, far above", wild(longest), maxDraw},
	} {
		if got := (Link{Latency: c.d}).draw(testRand()); got != c.want {
			t.Errorf("%s: drew %v, want %v", c.name, got, c.want)
		}
	}
}
