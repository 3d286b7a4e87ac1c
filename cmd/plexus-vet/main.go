// Command plexus-vet finds code in behaviours that the simulator cannot run, or
// not twice in the same way: see package simvet.
//
//	go run github.com/plexus-net/plexus/cmd/plexus-vet ./...
//	go vet -vettool=$(which plexus-vet) ./...
package main

import (
	"golang.org/x/tools/go/analysis/singlechecker"

	"github.com/plexus-net/plexus/testnet/simvet"
)

func main() { singlechecker.Main(simvet.Analyzer) }
