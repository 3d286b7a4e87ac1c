package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if lines[0] != "17 / 5 = 3, remainder 2" || !strings.HasPrefix(lines[1], "1 / 0: ") || !strings.HasSuffix(lines[1], "division by zero") || len(lines) != 3 {
		t.Errorf("got %q", out.String())
	}
}
