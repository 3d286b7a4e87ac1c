package simvet_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/plexus-net/plexus/testnet/simvet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The packages in testdata say in comments what is to be found in them.
func TestAnalyzer(t *testing.T) {
	root, err := filepath.Abs("../..") // where go.mod is: they import the real plexus
	if err != nil {
		t.Fatal(err)
	}
	var packages []string
	for _, name := range []string{"clock", "goroutine", "wait", "random", "deadline", "order", "dial", "reach", "serve", "ignore", "outside"} {
		packages = append(packages, "./testnet/simvet/testdata/"+name)
	}
	analysistest.Run(t, root, simvet.Analyzer, packages...)
}
