package mem_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/conn/conntest"
	"github.com/plexus-net/plexus/conn/mem"
	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Pair {
		n := mem.NewNetwork()
		silent := n.Transport()
		full, err := silent.Listen(t.Context(), conn.Local{Key: seed(t, 77), MaxHandshakes: 1}, addr("silent"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := silent.Dial(t.Context(), conn.Local{Key: seed(t, 78)}, identity.NodeID{}, full.Addr()); err != nil {
			t.Fatal(err)
		}
		return conntest.Pair{
			Dialer: n.Transport(), Listener: n.Transport(), At: addr("listener:0"),
			Refused: addr("nobody"), Silent: full.Addr(), MaxBuffered: 256 << 10,
		}
	})
}

func addr(name string) identity.Address { return identity.Address{Scheme: "mem", Host: name} }

// seed returns the key of a seed.
func seed(t testing.TB, b byte) identity.PrivateKey {
	t.Helper()
	s := make([]byte, 32)
	s[0] = b
	key, err := identity.PrivateKeyFromSeed(s)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
