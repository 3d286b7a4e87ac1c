package network

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/mem"
)

// A link whose session was closed before it listens learns of that: another
// connection may take its place at any moment, this one too.
func TestSessionClosedBeforeItsLinkListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := New(Config{Key: seeded(t, 1), Router: relay{}, Transports: []conn.Transport{mem.NewNetwork().Transport()}, Durable: true})
		if err != nil {
			t.Fatal(err)
		}
		bad := errors.New("bad")
		for _, first := range []string{"Close", "Feed"} {
			s := n.newSession(seeded(t, 2).ID())
			var ends []error
			feed := func() { s.Feed(func(_ []byte, err error) { ends = append(ends, err) }) }
			if first == "Feed" {
				feed()
			}
			s.Close(bad)
			s.Close(nil)
			if first == "Close" {
				feed()
			}
			if synctest.Wait(); len(ends) != 1 || ends[0] != bad {
				t.Errorf("%s first: the link learned of %v, want %v once", first, ends, bad)
			}
		}
	})
}
