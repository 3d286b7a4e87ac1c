package routertest_test

import (
	"testing"

	"github.com/plexus-net/plexus/identity"
	"github.com/plexus-net/plexus/router"
	"github.com/plexus-net/plexus/router/routertest"
)

// everythingHere is the smallest table that passes.
type everythingHere struct{}

func (everythingHere) PathToNode(identity.NodeID, identity.ConnID) router.Action {
	return router.Deliver()
}

func (everythingHere) PathToKey(identity.Key, identity.ConnID) router.Action {
	return router.Deliver()
}

func (everythingHere) PathToService(identity.ServiceID, identity.ConnID) router.Action {
	return router.Deliver()
}

func TestEverythingHere(t *testing.T) {
	routertest.Run(t, func(identity.NodeID) router.Table { return everythingHere{} })
}
