package identity

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKey returns the i-th of a fixed series of keys.
func testKey(t testing.TB, i byte) PrivateKey {
	t.Helper()
	seed := [32]byte{31: i}
	k, err := PrivateKeyFromSeed(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}
