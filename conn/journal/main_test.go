//go:build unix || windows

package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn/endpoint"
	"github.com/plexus-net/plexus/conn/journal"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(jobEnv); job != "" {
		work(job) // this is the second process of a test
		return
	}
	goleak.VerifyTestMain(m)
}

// key returns the key of a seed.
func key(b byte) identity.PrivateKey {
	seed := make([]byte, 32)
	seed[0] = b
	k, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		panic(err)
	}
	return k
}

// pair returns the keys of two nodes, of which the first dials the other at once.
func pair() (dials, other identity.PrivateKey) {
	a, b := key(1), key(2)
	if endpoint.Lower(a.ID(), b.ID()) {
		return a, b
	}
	return b, a
}

// file returns the path of a file that is not there.
func file(t testing.TB) string { return filepath.Join(t.TempDir(), "node.journal") }

// quick is for tests that do not let the machine crash.
var quick = journal.Config{NoSync: true}

func open(t testing.TB, path string, c journal.Config) *journal.Store {
	t.Helper()
	s, err := journal.Open(path, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// loaded returns a journal that may save.
func loaded(t testing.TB, s *journal.Store, peer identity.NodeID) endpoint.Journal {
	t.Helper()
	j := s.For(peer)
	if _, _, err := j.Load(); err != nil {
		t.Fatal(err)
	}
	return j
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func change(state string, drop int, add ...string) endpoint.Change {
	c := endpoint.Change{State: []byte(state), Drop: drop}
	for _, a := range add {
		c.Append = append(c.Append, []byte(a))
	}
	return c
}

// has checks what a journal has.
func has(t testing.TB, s *journal.Store, peer identity.NodeID, state string, messages ...string) {
	t.Helper()
	gotState, got, err := s.For(peer).Load()
	must(t, err)
	same := string(gotState) == state && len(got) == len(messages)
	for i := 0; same && i < len(got); i++ {
		same = string(got[i]) == messages[i]
	}
	if !same {
		t.Fatalf("the journal has %.80q and %d messages %.200q, want %.80q and %d: %.200q", gotState, len(got), got, state, len(messages), messages)
	}
}
