package baseline_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/plexus-net/plexus/internal/baseline"
)

// told is a test that notes what is said.
type told struct {
	testing.TB
	said []string
}

func (t *told) Helper() {}

func (t *told) Errorf(format string, args ...any) {
	t.said = append(t.said, fmt.Sprintf(format, args...))
}

// What is left is told, and what is not is not.
func TestRestored(t *testing.T) {
	var kept [][]byte
	var files []*os.File
	for name, cycle := range map[string]func(){
		"":      func() { _ = make([]byte, 1<<20) },
		"bytes": func() { kept = append(kept, make([]byte, 2<<10)) },
		"descriptors": func() {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		},
	} {
		if name == "descriptors" && runtime.GOOS != "linux" {
			continue
		}
		at := &told{TB: t}
		baseline.Restored(at, cycle)
		if said := strings.Join(at.said, "; "); (said == "") != (name == "") || !strings.Contains(said, name) {
			t.Errorf("left are %q, and it is said: %q", name, said)
		}
	}
	for _, f := range files {
		f.Close()
	}
	runtime.KeepAlive(kept)
}
