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
