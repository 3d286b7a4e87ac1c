package main

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The command works alone, and as the tool of go vet. What it finds is tested
// where the check is.
func TestBothWays(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip(err)
	}
	tool := filepath.Join(t.TempDir(), "plexus-vet")
	if runtime.GOOS == "windows" {
		tool += ".exe"
	}
	if out, err := exec.Command(goTool, "build", "-o", tool, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	const bad, good = "../../testnet/simvet/testdata/clock", "."
	for _, tt := range []struct {
		name string
		args []string
		want string // in what it prints; "": it finds nothing
	}{
		{"alone", []string{tool, bad}, "clock.go:21:6: time.Now tells real time"},
		{"alone, nothing to find", []string{tool, good}, ""},
		{"go vet", []string{goTool, "vet", "-vettool=" + tool, bad}, "clock.go:21:6: time.Now tells real time"},
		{"go vet, nothing to find", []string{goTool, "vet", "-vettool=" + tool, good}, ""},
	} {
		out, err := exec.Command(tt.args[0], tt.args[1:]...).CombinedOutput()
		if (err == nil) != (tt.want == "") || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v, printed %q; want %q", tt.name, err, out, tt.want)
		}
	}
}
