package codectest_test

import (
	"testing"

	"github.com/plexus-net/plexus/codec"
	"github.com/plexus-net/plexus/codec/codectest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShipped(t *testing.T) {
	for _, c := range []codec.Codec{
		codec.Default,
		codec.Canonical(codec.Limits{}),
		codec.JSON(codec.Limits{}),
		codec.Raw(codec.Limits{}),
		codec.Msgpack(codec.Limits{Size: 2 << 20, Depth: 20, Elements: 5000, Expansion: 100}),
	} {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			codectest.Test(t, c)
		})
	}
}
