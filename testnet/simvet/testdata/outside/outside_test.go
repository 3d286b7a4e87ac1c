package outside

import (
	"testing"
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

// A behaviour of the tests. Its embedded method is that of the package.
type fake struct{ tested }

func (*fake) OnMessage(a *agent.Behavior, m *conn.Message) {
	_ = time.Now()
	helper()
}

func helper() { time.Sleep(1) }

func TestNothing(t *testing.T) { main() }
