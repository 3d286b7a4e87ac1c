// Package random draws numbers that no seed decides.
package random

import (
	crypto "crypto/rand"
	old "math/rand"
	"math/rand/v2"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

type B struct{ r *rand.Rand }

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	_ = rand.IntN(2)                   // want `^rand.IntN is not drawn from the seed: use Rand of the agent$`
	_ = rand.N(2)                      // want `^rand.N is not drawn from the seed`
	rand.Shuffle(1, func(i, j int) {}) // want `is not drawn from the seed`
	_ = old.Int()                      // want `rand.Int is not drawn`
	_, _ = crypto.Read(m.Payload)      // want `^crypto/rand.Read is not drawn from the seed: use Rand of the agent, and make secrets`
	_ = crypto.Reader                  // want `^crypto/rand.Reader is not drawn`
	_ = crypto.Text()                  // want `^crypto/rand.Text is not drawn`

	b.r = rand.New(rand.NewPCG(1, 2))
	b.r.Shuffle(1, func(i, j int) {})
	_ = old.New(old.NewSource(1)).Int()
	_ = rand.NewZipf(b.r, 2, 2, 2)
	_ = a.Rand().IntN(2)
}
