package kademlia

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"go.uber.org/goleak"

	"github.com/plexus-net/plexus/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// id returns the i-th of a fixed series of node IDs.
func id(i int) identity.NodeID {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}
