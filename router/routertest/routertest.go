// Package routertest is the conformance suite for routing tables. A table that
// passes can be given to any node. Call it from a test of your own:
//
//	func TestConformance(t *testing.T) {
//		routertest.Run(t, func(self identity.NodeID) router.Table { return mytable.New(self) })
//	}
//
// Every case states the rule that it checks and prints it when it fails. Cases
// for what a table can do beyond [router.Table] run if it implements the
// interface: [router.Learner], [router.Directory], [router.Resolver]. Run the
// suite under the race detector too.
package routertest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
)

// Run checks the tables that newTable makes, each case in a subtest on fresh
// tables. A table that newTable returns knows of no connection yet. Run must
// not be called from a parallel test, since it counts allocations.
func Run(t *testing.T, newTable func(self identity.NodeID) router.Table) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			problems, skipped := c.check(newTable)
			if skipped {
				t.Skipf("the table is no %s", c.needs)
			}
			for _, p := range problems {
				t.Errorf("%s\nrule: %s", p, c.rule)
			}
		})
	}
}

// A testCase is one rule and its check.
type testCase struct {
	name  string
	rule  string
	needs need
	run   func(*fixture)
}

// A need is what a case asks of a table beyond router.Table, as a set.
type need uint8

const (
	learner need = 1 << iota
	directory
	resolver
)

func (n need) String() string {
	var names []string
	for i, name := range []string{"router.Learner", "router.Directory", "router.Resolver"} {
		if n&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}

// check runs a case and returns what is wrong with the table.
func (c testCase) check(newTable func(identity.NodeID) router.Table) (problems []string, skipped bool) {
	f := &fixture{newTable: newTable, self: node(0)}
	f.use(f.self)
	if f.can&c.needs != c.needs {
		return nil, true
	}
	defer func() { // a panic is a finding of this case, not the end of the suite
		if v := recover(); v != nil {
			problems = append(f.problems, fmt.Sprintf("panic: %v", v))
		}
	}()
	c.run(f)
	return f.problems, false
}

// maxProblems is how many findings a case prints.
const maxProblems = 5

// A fixture is a table under test, with shorthands. Its interfaces are nil
// where the table lacks them.
type fixture struct {
	newTable func(identity.NodeID) router.Table
	self     identity.NodeID
	router.Table
	router.Learner
	router.Directory
	router.Resolver
	can      need
	problems []string
}

// use puts a fresh table of a node under test.
func (f *fixture) use(self identity.NodeID) {
	f.self, f.can = self, 0
	f.Table = f.newTable(self)
	var ok bool
	if f.Learner, ok = f.Table.(router.Learner); ok {
		f.can |= learner
	}
	if f.Directory, ok = f.Table.(router.Directory); ok {
		f.can |= directory
	}
	if f.Resolver, ok = f.Table.(router.Resolver); ok {
		f.can |= resolver
	}
}

func (f *fixture) errorf(format string, args ...any) {
	if len(f.problems) < maxProblems {
		f.problems = append(f.problems, fmt.Sprintf(format, args...))
	}
}

// expect compares an answer with the only right one.
func (f *fixture) expect(what string, got, want router.Action) {
	if got != want {
		f.errorf("%s = %v, want %v", what, got, want)
	}
}

// link tells the table of a connection.
func (f *fixture) link(id identity.ConnID, n identity.NodeID, services ...identity.ServiceID) {
	f.AddLink(router.Link{Conn: id, Node: n, Services: services, RTT: time.Millisecond})
}

// paths asks for everything there is to ask, as fixed as the cases need it.
func (f *fixture) paths(in identity.ConnID, ask func(what string, a router.Action)) {
	for i := range 40 {
		ask(fmt.Sprintf("PathToNode(node %d, %d)", i, in), f.PathToNode(node(i), in))
		ask(fmt.Sprintf("PathToKey(key %d, %d)", i, in), f.PathToKey(key(i), in))
	}
	for id := range identity.ServiceID(6) {
		ask(fmt.Sprintf("PathToService(%d, %d)", id, in), f.PathToService(id, in))
	}
}

// node returns the i-th of a fixed series of node IDs.
func node(i int) identity.NodeID { return sha256.Sum256(seed("node", i)) }

// key returns the i-th of a fixed series of keys.
func key(i int) identity.Key { return sha256.Sum256(seed("key", i)) }

func seed(what string, i int) []byte { return binary.BigEndian.AppendUint32([]byte(what), uint32(i)) }
