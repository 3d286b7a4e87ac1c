package archtest

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// floors says on which floor a package stands. A package may import those on
// lower floors only, so two on one floor are siblings and never know each
// other. Patterns are path.Match's; a name goes before a pattern. Not listed:
// test kits (codec/codectest), half a floor above what they test, and what is
// below some P/internal, half a floor below P.
var floors = map[string]int{
	"identity":        0,
	"internal/env":    0,
	"internal/fd":     0,
	"internal/frames": 0,
	"internal/origin": 0,

	"router":            1,
	"codec":             1,
	"internal/*":        1,
	"conn":              2,
	"agent":             3,
	"conn/secure":       3,
	"conn/link":         3,
	"conn/endpoint":     3,
	"internal/wire":     3,
	"behavior":          4,
	"rpc":               5,
	"network":           6,
	"internal/sim":      6,
	"conn/*":            6,
	"router/*":          6,
	"behaviors/*":       6,
	".":                 7,
	"network/metrics":   7,
	"testnet":           7,
	"testnet/simvet":    7,
	"console":           7,
	"internal/bench":    7,
	"internal/archtest": 7,
	"cmd/*":             8,
	"examples/*":        8,
}

// forTests are what tests of several packages share, and nothing that ships.
var forTests = map[string]bool{"internal/baseline": true, "internal/yardstick": true}

// floorOf returns twice the floor of a directory, and whether it has one.
func floorOf(dir string) (int, bool) {
	if f, ok := floors[dir]; ok {
		return 2 * f, true
	}
	if isKit(dir) {
		f, ok := floorOf(path.Dir(dir))
		return f + 1, ok
	}
	if p, _, ok := strings.Cut(dir, "/internal/"); ok {
		f, ok := floorOf(p)
		return f - 1, ok
	}
	for pattern, f := range floors {
		if ok, _ := path.Match(pattern, dir); ok {
			return 2 * f, true
		}
	}
	return 0, false
}

// isKit reports whether a directory is a test kit: conn/conntest tests conn.
func isKit(dir string) bool {
	return path.Dir(dir) != "." && path.Base(dir) == path.Base(path.Dir(dir))+"test"
}

// checkImports returns what is wrong with the imports of a tree.
func checkImports(t *tree) (problems []string) {
	for _, p := range t.packages {
		from, ok := floorOf(p.dir)
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: has no floor; give it one in internal/archtest and CONTRIBUTING.md", p.dir))
			continue
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			for _, dir := range t.imports(f) {
				switch to, ok := floorOf(dir); {
				case dir != p.dir && (isKit(dir) || forTests[dir]) && !isKit(p.dir):
					problems = append(problems, fmt.Sprintf("%s: imports the test kit %s; only tests and other kits may", f.path, dir))
				case ok && to >= from:
					problems = append(problems, fmt.Sprintf("%s: imports %s: floor %s may not import floor %s", f.path, dir, half(from), half(to)))
				}
			}
		}
	}
	return problems
}

func half(n int) string { return strconv.FormatFloat(float64(n)/2, 'f', -1, 64) }

func TestImportsGoDown(t *testing.T) { report(t, checkImports(load(t))) }

// The page that people read has the same floors.
func TestContributingHasTheFloors(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Skip(err)
	}
	onPage := parseFloors(string(text))
	if len(onPage) == 0 {
		t.Error("CONTRIBUTING.md has no table of floors")
	}
	for dir, floor := range onPage {
		if got, ok := floorOf(dir); !ok || got != 2*floor {
			t.Errorf("CONTRIBUTING.md: %s on floor %d; here it is on %s (%t)", dir, floor, half(got), ok)
		}
	}
	for _, p := range load(t).packages {
		_, listed := onPage[p.dir]
		if f, _ := floorOf(p.dir); !listed && !isKit(p.dir) && f < 2*8 && f > 0 && !strings.HasPrefix(p.dir, "internal/") {
			t.Errorf("CONTRIBUTING.md: %s is not in the table of floors", p.dir)
		}
	}
}

// parseFloors reads lines such as " 6  network    conn/{quic,tcp}".
func parseFloors(text string) map[string]int {
	onPage := map[string]int{}
	line := regexp.MustCompile(`(?m)^ (\d)  (.+)$`)
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		floor, _ := strconv.Atoi(m[1])
		for _, entry := range regexp.MustCompile(`\s{2,}`).Split(m[2], -1) {
			if strings.Contains(entry, "module root") {
				entry = "."
			}
			prefix, list, ok := strings.Cut(entry, "{")
			if !ok {
				onPage[entry] = floor
				continue
			}
			for name := range strings.SplitSeq(strings.TrimSuffix(list, "}"), ",") {
				onPage[prefix+name] = floor
			}
		}
	}
	return onPage
}
