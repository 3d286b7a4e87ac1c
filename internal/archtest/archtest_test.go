package archtest

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// plant makes a tree of files that follow the rules, and of those given.
func plant(t *testing.T, files map[string]string) *tree {
	t.Helper()
	sources := fstest.MapFS{
		"go.mod":                  {Data: []byte("module m\n\ngo 1.26\n")},
		"identity/identity.go":    {Data: []byte("// Package identity is there.\npackage identity\n")},
		"testdata/util/util.go":   {Data: []byte("package util\nnonsense")},
		"_tools/util.go":          {Data: []byte("nonsense")},
		"examples/other/go.mod":   {Data: []byte("module other\n")},
		"examples/other/types.go": {Data: []byte("package types\n")},
	}
	for name, text := range files {
		sources[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := readTree(sources)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// importer is the source of a package that imports others of the module.
func importer(paths ...string) string {
	text := "// Package p is there.\npackage p\n"
	for _, p := range paths {
		text += "import _ \"m/" + p + "\"\n"
	}
	return text
}

// Every rule finds what breaks it, and lets pass what does not.
func TestRulesFindFaults(t *testing.T) {
	names := func(t *tree) []string { problems, _ := checkNames(t, 3); return problems }
	for _, tt := range []struct {
		name  string
		check func(*tree) []string
		file  string
		text  string
		want  string // of the only problem; "": none
	}{
		{"down", checkImports, "network/a.go", importer("identity", "conn", "behavior"), ""},
		{"root from above", checkImports, "cmd/x/a.go", `package main; import _ "m"`, ""},
		{"root from below", checkImports, "rpc/a.go", `package rpc; import _ "m"`, "floor 5 may not import floor 7"},
		{"up", checkImports, "conn/a.go", importer("agent"), "conn/a.go: imports agent: floor 2 may not import floor 3"},
		{"other modules", checkImports, "conn/a.go", `package conn; import _ "mm/agent"`, ""},
		{"network and a transport", checkImports, "network/a.go", importer("conn/quic"), "floor 6 may not import floor 6"},
		{"network and a table", checkImports, "network/a.go", importer("router/kademlia"), "floor 6"},
		{"network and a behaviour", checkImports, "network/a.go", importer("behaviors/latency"), "floor 6"},
		{"network and rpc", checkImports, "network/a.go", importer("rpc"), ""},
		{"rpc and network", checkImports, "rpc/a.go", importer("network"), "floor 5 may not import floor 6"},
		{"behaviour and network", checkImports, "behaviors/x/a.go", importer("network"), "floor 6 may not import floor 6"},
		{"siblings", checkImports, "conn/tcp/a.go", importer("conn/secure", "conn/mem"), "imports conn/mem"},
		{"hidden by a build tag", checkImports, "conn/a_js.go", "//go:build js\n\n" + importer("agent"), "floor 2 may not import floor 3"},
		{"tests may", checkImports, "conn/a_test.go", importer("conn/mem", "conn/conntest"), ""},
		{"kit and what it tests", checkImports, "conn/conntest/a.go", importer("conn", "router/routertest"), ""},
		{"kit and what is above", checkImports, "conn/conntest/a.go", importer("agent"), "floor 2.5 may not import floor 3"},
		{"kit outside of tests", checkImports, "behaviors/x/a.go", importer("conn/conntest"), "imports the test kit conn/conntest"},
		{"what tests share", checkImports, "conn/mem/a.go", importer("internal/baseline"), "imports the test kit internal/baseline"},
		{"inner package", checkImports, "network/internal/x/a.go", importer("rpc"), ""},
		{"inner package and its outer", checkImports, "network/internal/x/a.go", importer("network"), "floor 5.5 may not import floor 6"},
		{"no floor", checkImports, "extra/a.go", importer(), "extra: has no floor"},

		{"few names", names, "conn/a.go", "package conn; type A int; const B, c = 1, 2; func (A) M() {}; var C int", ""},
		{"many names", names, "conn/a.go", "package conn; type A int; const B, D = 1, 2; func C() {}", "exports 4 names, at most 3 are allowed: conn 4"},
		{"names not of the core", names, "conn/mem/a.go", "package mem; type A int; const B, D = 1, 2; func C() {}", ""},

		{"vague package", checkPackageNames, "conn/x/a.go", "package util", "package util: name it"},
		{"vague directory", checkPackageNames, "conn/types/a.go", "package conntypes", "name it after"},

		{"short file", checkLength, "conn/a.go", "package conn" + strings.Repeat("\n", maxLines), ""},
		{"long file", checkLength, "conn/a.go", "package conn" + strings.Repeat("\n", maxLines+1), "has 501 lines"},
		{"long function", checkLength, "conn/a.go", "package conn\nfunc f() {" + strings.Repeat("\n", maxFuncLines) + "}", "conn/a.go:2: f has 61 lines"},
		{"long test", checkLength, "conn/a_test.go", "package conn\nfunc f() {" + strings.Repeat("\n", maxFuncLines) + "}", ""},

		{"documented", checkDocumentation, "conn/a.go", "// Package conn is there.\npackage conn\n// A is.\ntype A int\n// The ones.\nconst (B = 1; C = 2)\nfunc (A) String() string { return \"\" }\nfunc d() {}", ""},
		{"no package comment", checkDocumentation, "conn/a.go", "package conn", "conn: has no package comment"},
		{"no comment", checkDocumentation, "conn/a.go", "// Package conn is there.\npackage conn\nfunc F() {}", "conn/a.go:3: F is exported and has no comment"},
		{"method without comment", checkDocumentation, "conn/a.go", "// Package conn is there.\npackage conn\n// A is.\ntype A[T any] int\nfunc (*A[T]) F() {}", "F is exported"},
		{"value without comment", checkDocumentation, "conn/a.go", "// Package conn is there.\npackage conn\nvar V int", "V is exported"},

		{"clock", checkClock, "behaviors/x/a.go", "package x\nfunc f() { time.Now() }", "time.Now: behaviours"},
		{"duration", checkClock, "behaviors/x/a.go", "package x\nfunc f() { time.Duration(1).String(); rand.New(rand.NewPCG(1, 2)) }", ""},
		{"chance", checkClock, "router/x/a.go", "package x\nfunc f() { rand.IntN(1) }", "rand.IntN"},
		{"clock elsewhere", checkClock, "network/a.go", "package x\nfunc f() { time.Now() }", ""},

		{"sleep", checkSleep, "conn/a_test.go", "package conn\nfunc TestX(t *testing.T) { time.Sleep(1) }", "conn/a_test.go:2: time.Sleep"},
		{"sleep in a bubble", checkSleep, "conn/a_test.go", "package conn\nfunc TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }", ""},
		{"sleep beside a bubble", checkSleep, "conn/a_test.go", "package conn\nfunc TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) {}); time.Sleep(1) }", "time.Sleep"},
		{"sleep in a named bubble", checkSleep, "conn/a_test.go", "package conn\nfunc run(t *testing.T, f func()) { synctest.Test(t, func(*testing.T) { f() }) }\nfunc TestX(t *testing.T) { run(t, func() { time.Sleep(1) }) }", ""},
		{"sleep in what bubbles call", checkSleep, "conn/a_test.go", "package conn\nfunc TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) { g() }) }\nfunc g() { h() }\nfunc h() { time.Sleep(1) }", ""},
		{"sleep in what others call too", checkSleep, "conn/a_test.go", "package conn\nfunc TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) { g() }) }\nfunc TestY(t *testing.T) { g() }\nfunc g() { h() }\nfunc h() { time.Sleep(1) }", "conn/a_test.go:5"},
		{"sleep in what nobody calls", checkSleep, "conn/a_test.go", "package conn\nfunc h() { time.Sleep(1) }", "time.Sleep"},
		{"sleep with an excuse", checkSleep, "conn/a_test.go", "package conn\n// h runs in a bubble.\nfunc h() { time.Sleep(1) }", ""},
		{"sleep in a benchmark", checkSleep, "conn/a_test.go", "package conn\nfunc BenchmarkX(b *testing.B) { time.Sleep(1) }", ""},
		{"sleep outside of tests", checkSleep, "conn/a.go", "package conn\nfunc h() { time.Sleep(1) }", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.check(plant(t, map[string]string{tt.file: tt.text}))
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
				t.Errorf("%s: problems %q, want %q", tt.file, got, tt.want)
			}
		})
	}
}

func TestTreeLeavesOut(t *testing.T) {
	var dirs []string
	for _, p := range plant(t, nil).packages {
		dirs = append(dirs, p.dir)
	}
	if !slices.Equal(dirs, []string{"identity"}) {
		t.Errorf("packages: %q, want identity alone: no testdata, no other module, nothing hidden", dirs)
	}
}

func TestParseFloors(t *testing.T) {
	got := parseFloors(" 7  plexus (module root)    testnet\n 1  router    conn/{quic,tcp}\n 1. Imports go down.\n")
	want := map[string]int{".": 7, "testnet": 7, "router": 1, "conn/quic": 1, "conn/tcp": 1}
	if len(got) != len(want) {
		t.Errorf("parseFloors = %v, want %v", got, want)
	}
	for dir, floor := range want {
		if got[dir] != floor {
			t.Errorf("%s on floor %d, want %d", dir, got[dir], floor)
		}
	}
}
