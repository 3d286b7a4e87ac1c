package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Nothing is lost; and without resumption much is, so that the cable does bite.
func TestUnplug(t *testing.T) {
	for _, without := range []bool{false, true} {
		var out bytes.Buffer
		c, err := run(t.Context(), options{length: time.Second, every: 200 * time.Millisecond, without: without, out: &out})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", out.String())
		if c.cuts.Load() < 2 || c.sent.Load() < 100 {
			t.Errorf("%d messages, %d cuts", c.sent.Load(), c.cuts.Load())
		}
		lost := c.lost.Load()
		switch {
		case without && lost == 0:
			t.Error("nothing is lost without resumption: the cable does not bite")
		case !without && (lost > 0 || c.disorder.Load() > 0 || c.received.Load() != c.sent.Load() || c.again.Load() == 0):
			t.Errorf("with resumption: %v", c)
		}
		if s := out.String(); !strings.Contains(s, "in 1.") || strings.Contains(s, "\r") {
			t.Errorf("printed %q", s)
		}
	}
}

// With resumption, a message that is lost, or comes out of order, is an error:
// the program is the proof of itself.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		numbers []uint64 // received
		sent    uint64
		good    bool
	}{
		"all":      {[]uint64{0, 1, 2}, 3, true},
		"gap":      {[]uint64{0, 2, 3}, 4, false},
		"repeated": {[]uint64{0, 1, 1, 2}, 3, false},
		"swapped":  {[]uint64{0, 2, 1}, 3, false},
		"end":      {[]uint64{0, 1}, 3, false},
	} {
		counts := &counts{}
		for _, n := range c.numbers {
			counts.receive(n)
		}
		counts.sent.Store(c.sent)
		if err := counts.verify(); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Options that mean nothing are refused, and say what to do.
func TestOptions(t *testing.T) {
	for want, c := range map[string]struct {
		options
		args []string
	}{
		"":       {options: options{length: time.Second}},
		"-for":   {options: options{length: -time.Second}},
		"-every": {options: options{length: time.Second, every: -time.Second}},
		"flags":  {options{length: time.Second}, []string{"without"}},
	} {
		if err := c.check(c.args); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}
