package testnet_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/testnet"
)

func roundTrip(t *testing.T, a, b testnet.Region) time.Duration {
	t.Helper()
	d, ok := testnet.RoundTrip(a, b)
	if !ok {
		t.Fatalf("%s or %s is not known", a, b)
	}
	return d
}

func TestRoundTrips(t *testing.T) {
	all := testnet.AllRegions()
	if len(all) < 12 {
		t.Fatalf("%d regions, want a dozen or more", len(all))
	}
	for i, a := range all {
		if slices.Contains(all[:i], a) {
			t.Errorf("%s is there twice", a)
		}
		for _, b := range all {
			d := roundTrip(t, a, b)
			if back := roundTrip(t, b, a); back != d {
				t.Errorf("%s to %s takes %v, and back %v", a, b, d, back)
			}
			if a == b {
				if d != time.Millisecond {
					t.Errorf("inside of %s it takes %v, want 1ms", a, d)
				}
				continue
			}
			if d < 5*time.Millisecond || d > 400*time.Millisecond {
				t.Errorf("%s to %s takes %v: there is no such way on Earth", a, b, d)
			}
			for _, c := range all {
				// Detours may be shorter, but not by much.
				if around := roundTrip(t, a, c) + roundTrip(t, c, b); c != a && c != b && d > around*5/4 {
					t.Errorf("%s to %s takes %v, by way of %s %v", a, b, d, c, around)
				}
			}
		}
	}
	if _, ok := testnet.RoundTrip("eastus", "atlantis"); ok {
		t.Error("atlantis is known")
	}
	if _, ok := testnet.RoundTrip("", "eastus"); ok {
		t.Error("a region without a name is known")
	}
	all[0] = "changed"
	if testnet.AllRegions()[0] == "changed" {
		t.Error("AllRegions hands out its own slice")
	}
}

// TestRoundTripsAreThePublishedOnes compares some with the tables of the
// source, both directions of each.
func TestRoundTripsAreThePublishedOnes(t *testing.T) {
	for _, c := range []struct {
		a, b        testnet.Region
		there, back int // ms
	}{
		{"eastus", "westeurope", 83, 85}, {"eastus", "westus", 69, 67}, {"westus", "japaneast", 108, 107},
		{"canadacentral", "eastus", 18, 18}, {"brazilsouth", "southafricanorth", 321, 321}, {"northeurope", "uaenorth", 128, 121},
		{"germanywestcentral", "westeurope", 11, 11}, {"centralindia", "uaenorth", 32, 32}, {"southeastasia", "eastasia", 36, 36},
		{"australiaeast", "southafricanorth", 328, 328}, {"australiaeast", "japaneast", 104, 103}, {"eastasia", "westeurope", 203, 201},
	} {
		want := time.Duration(c.there+c.back) * time.Millisecond / 2
		if got := roundTrip(t, c.a, c.b); got != want {
			t.Errorf("%s to %s takes %v, want %v", c.a, c.b, got, want)
		}
	}
}

// median returns the median of many draws.
func median(d testnet.Distribution) time.Duration {
	r := rand.New(rand.NewPCG(3, 4))
	draws := make([]time.Duration, 20_001)
	for i := range draws {
		draws[i] = d.Draw(r)
	}
	slices.Sort(draws)
	return draws[len(draws)/2]
}

func TestRegionsPlacesNodesRoundRobin(t *testing.T) {
	for _, c := range []struct {
		name  string
		names []testnet.Region
	}{
		{"three", []testnet.Region{"westeurope", "japaneast", "eastus"}},
		{"one", []testnet.Region{"eastus"}},
		{"one of them twice", []testnet.Region{"eastus", "uaenorth", "eastus"}},
		{"all", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			links, at := testnet.Regions(c.names...), c.names
			if at == nil {
				at = testnet.AllRegions()
			}
			n := 2*len(at) + 1
			for from := range n {
				to := (from*7 + 3) % n
				want := roundTrip(t, at[from%len(at)], at[to%len(at)]) / 2
				link := links(from, to)
				if got := median(link.Latency); (got - want).Abs() > want/200 {
					t.Errorf("from node %d to %d the median is %v, want %v", from, to, got, want)
				}
				if other := (testnet.Link{Latency: link.Latency}); link != other {
					t.Errorf("link %+v does more than take time", link)
				}
			}
		})
	}
}

// TestRegionsVaryAsSaid counts the draws within 10% of the median.
func TestRegionsVaryAsSaid(t *testing.T) {
	d := testnet.Regions("eastus", "japaneast")(0, 1).Latency
	r := rand.New(rand.NewPCG(5, 6))
	within, want := 0, roundTrip(t, "eastus", "japaneast")/2
	for range 10_000 {
		if (d.Draw(r) - want).Abs() <= want/10 {
			within++
		}
	}
	if within < 9400 || within > 9600 {
		t.Errorf("%d of 10000 draws are within 10%% of %v, want about 9500", within, want)
	}
}

func TestRegionsRefusesUnknownNames(t *testing.T) {
	for _, names := range [][]testnet.Region{{"atlantis"}, {"eastus", "atlantis"}, {"atlantis", "eastus"}} {
		func() {
			defer func() {
				said, _ := recover().(string)
				if !strings.Contains(said, `region "atlantis" is not known`) || !strings.Contains(said, "eastus") || !strings.Contains(said, "australiaeast") {
					t.Errorf("Regions%v panicked with %q, want the unknown name and the known ones", names, said)
				}
			}()
			testnet.Regions(names...)
		}()
	}
}

func ExampleRegions() {
	links := testnet.Regions("westeurope", "japaneast")
	lossy := func(from, to int) testnet.Link {
		l := links(from, to)
		l.Loss = 0.01
		return l
	}
	_ = lossy // for a simulation
}
